//! The machine's name, and whether it is Azure's.

/// The machine's name as its administrator set it (hostname(5)), else as the kernel has it. Not the kernel's first: a worker
/// may have taken another, and a unit may have a name space of its own, where the name of its start stays.
pub fn name() -> String {
    let file = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    chosen(&file, &rustix::system::uname().nodename().to_string_lossy())
}

/// The name in the text of hostname(5), unless it is none: empty, or the one of machines that get theirs elsewhere.
pub fn chosen(file: &str, kernel: &str) -> String {
    let line = file.lines().map(str::trim).find(|l| !l.is_empty() && !l.starts_with('#')).unwrap_or_default();
    let short = line.split('.').next().unwrap_or_default();
    let odd = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    let usable = !short.is_empty() && short != "localhost" && !line.chars().any(odd);
    if usable { line.to_owned() } else { kernel.to_owned() }
}

/// What the firmware of every VM of Azure's gives as the tag of its chassis (cloud-init,
/// `cloudinit/sources/azure/identity.py`).
const AZURE: &str = "7783-7084-3265-9085-8269-3286-77";

/// Whether the firmware says that this is a VM of Azure's. Where it does not say so it may be one all the same.
pub fn is_azure() -> bool {
    std::fs::read_to_string("/sys/class/dmi/id/chassis_asset_tag").is_ok_and(|tag| tag.trim() == AZURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_administrators_name_counts_if_it_is_one() {
        for (file, expected) in [
            ("dsvmpool000007\n", "dsvmpool000007"),
            ("# set by hand\n\n vm.contoso.com \n", "vm.contoso.com"),
            ("", "kernel"),
            ("localhost\n", "kernel"),
            ("localhost.localdomain\n", "kernel"),
            ("a b\u{1b}\n", "kernel"),
        ] {
            assert_eq!(chosen(file, "kernel"), expected, "{file:?}");
        }
        assert!(!name().is_empty());
    }
}
