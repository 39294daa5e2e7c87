//! Names that become part of a path.

use crate::{Error, Result};

/// The longest name, in bytes.
pub(crate) const BYTES_MAX: usize = 64;

/// What lies in a home beside its channels and labels.
const RESERVED: [&str; 9] =
    ["cache", "config", "data", "instances", "ports", "runtime", "state", "stores", "tmp"];

/// Checks that a name is one path component, and the same one on every file system.
pub(crate) fn check(what: &'static str, name: &str) -> Result<()> {
    let is_allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-');
    let problem = if name.is_empty() {
        "is empty".to_owned()
    } else if name.len() > BYTES_MAX {
        format!("has {} bytes", name.len())
    } else if let Some(character) = name.chars().find(|&c| !is_allowed(c)) {
        format!("holds {character:?}")
    } else if name.starts_with('.') || name.ends_with('.') {
        "begins or ends with a dot".to_owned()
    } else if is_device(name) {
        "is a device on Windows".to_owned()
    } else {
        return Ok(());
    };
    Err(refusal(what, name, problem))
}

/// Checks a name that lies in a home beside what is always there.
pub(crate) fn check_in_home(what: &'static str, name: &str) -> Result<()> {
    check(what, name)?;
    if RESERVED.contains(&name) { Err(refusal(what, name, "is reserved".to_owned())) } else { Ok(()) }
}

fn refusal(what: &'static str, name: &str, problem: String) -> Error {
    Error::Name { what, name: name.chars().take(BYTES_MAX).collect(), problem }
}

/// Names that are no files there, whatever their extension.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default();
    let numbered = stem.strip_prefix("com").or_else(|| stem.strip_prefix("lpt"));
    matches!(stem, "aux" | "con" | "nul" | "prn")
        || numbered.is_some_and(|n| n.len() == 1 && n.as_bytes()[0].is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_component_on_every_file_system() {
        for name in ["a", "stable", "my-app_2.1", "com", "console", "com10", "0", &*"n".repeat(64)] {
            assert!(check_in_home("app", name).is_ok(), "{name}");
        }
        let refused = |name: &str, why: &str| {
            let error = check_in_home("channel", name).expect_err(name).to_string();
            assert!(error.starts_with("channel ") && error.contains(why), "{error}");
        };
        refused("", "is empty");
        refused(&"n".repeat(65), "has 65 bytes");
        refused("Nightly", "holds 'N'");
        refused("a/b", "holds '/'");
        refused("a\\b", "holds '\\\\'");
        refused("ä", "holds 'ä'");
        refused("a\0", r"holds '\0'");
        refused("..", "a dot");
        refused("a.", "a dot");
        refused("instances", "reserved");
        assert!(check("store", "instances").is_ok(), "only a home's own names are");
        refused("nul.txt", "device");
        refused("com1", "device");
    }
}
