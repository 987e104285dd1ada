//! How large it is.

use crate::table::{Row, Unit};
use vm::Guest;

/// The program and its package, against the package that the old script needed.
pub fn measure(guest: &Guest) -> Vec<Row> {
    let number = |line: &str| guest.sh(line).parse::<f64>().expect("a number");
    let file = |path: &str| number(&format!("stat --dereference --format=%s {path}")) / 1024.0;
    let installed = |package: &str| number(&format!("dpkg-query --show --showformat='${{Installed-Size}}' {package}"));
    let path = vm::package();
    let package = std::fs::metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).len();
    let kibibytes = f64::from(u32::try_from(package / 1024).unwrap_or(u32::MAX));
    vec![
        Row::beside("program", Unit::Kibibytes, file("/usr/bin/dsvm-agent"), "mount.cifs", file("/sbin/mount.cifs")),
        Row::beside("installed", Unit::Kibibytes, installed("dsvm-agent"), "cifs-utils", installed("cifs-utils")),
        Row::alone(".deb", Unit::Kibibytes, kibibytes),
    ]
}
