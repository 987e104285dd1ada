//! What a tree of files is, in one number: names, kinds, owners, modes, contents.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A number for everything at and below `paths`, which are told apart by their order. Links are not followed. `Err` names
/// what cannot be read.
///
/// # Errors
/// As of reading.
pub fn hash_tree(paths: &[PathBuf]) -> std::io::Result<u64> {
    let mut hasher = DefaultHasher::new();
    for path in paths {
        add(path, Path::new(""), &mut hasher)?;
    }
    Ok(hasher.finish())
}

fn add(path: &Path, name: &Path, hasher: &mut DefaultHasher) -> std::io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    (name, meta.mode(), meta.uid(), meta.gid()).hash(hasher);
    let kind = meta.file_type();
    if kind.is_symlink() {
        fs::read_link(path)?.hash(hasher);
    } else if kind.is_file() {
        fs::read(path)?.hash(hasher);
    } else if kind.is_block_device() || kind.is_char_device() {
        meta.rdev().hash(hasher);
    } else if kind.is_dir() {
        let mut names = fs::read_dir(path)?.map(|e| e.map(|e| e.file_name())).collect::<Result<Vec<_>, _>>()?;
        names.sort();
        for name in names {
            add(&path.join(&name), Path::new(&name), hasher)?;
        }
        // Where a directory ends, so that its next sibling is none of its entries.
        0xdeu8.hash(hasher);
    }
    Ok(())
}
