//! Where the sources are: the filter can be built, and the demo bundle found, only in a checkout.

use std::env;
use std::path::{Path, PathBuf};

/// The root of the Palisade workspace around the current directory, else around the executable.
pub fn find() -> Option<PathBuf> {
    let from_here = env::current_dir().ok().and_then(|here| find_above(&here));
    from_here.or_else(|| env::current_exe().ok().and_then(|exe| find_above(&exe)))
}

/// The nearest directory at or above `start` that is the root of the Palisade workspace.
fn find_above(start: &Path) -> Option<PathBuf> {
    start.ancestors().find(|directory| is_root(directory)).map(Path::to_path_buf)
}

/// A workspace of somebody else's has no member `filter`, and a member of ours has no `[workspace]` table.
fn is_root(directory: &Path) -> bool {
    directory.join("filter/Cargo.toml").is_file()
        && std::fs::read_to_string(directory.join("Cargo.toml"))
            .is_ok_and(|manifest| manifest.lines().any(|line| line.trim() == "[workspace]"))
}

#[cfg(test)]
mod tests {
    use super::find_above;
    use std::fs;
    use std::path::Path;

    #[test]
    fn the_root_is_found_from_a_member_and_from_the_target_directory() {
        let member = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = member.parent().unwrap();
        assert_eq!(find_above(member).as_deref(), Some(root));
        assert_eq!(find_above(&root.join("target/debug/palisade")).as_deref(), Some(root));
    }

    #[test]
    fn another_workspace_is_not_taken_for_ours() {
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("Cargo.toml"), "[workspace]\nmembers = []\n").unwrap();
        assert_eq!(find_above(other.path()), None);
        fs::create_dir(other.path().join("filter")).unwrap();
        fs::write(other.path().join("filter/Cargo.toml"), "[package]\n").unwrap();
        assert_eq!(find_above(other.path()).as_deref(), Some(other.path()));
    }
}
