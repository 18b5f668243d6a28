//! The directory that a server lives in, and whose it is.
//!
//! A home holds the cluster, the server's log, the superuser's password and a lock file. The lock is held as
//! long as its owner lives and freed by the kernel when that dies, so a home whose lock can be taken has
//! nobody in it: a throwaway one is then removed at the next start, and a living one is never touched.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::unistd::{Gid, Uid, User, geteuid};

use super::Error;

const PREFIX: &str = "accord-postgres-";
const LOCK: &str = "owner.lock";

/// How long files may keep appearing in a home that is removed.
const REMOVE_DEADLINE: Duration = Duration::from_secs(2);

/// The user that the server runs as when we are root, for Postgres refuses to run as root.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: Uid,
    pub(super) gid: Gid,
}

impl Account {
    /// `None`: we are not root, the server runs as we do.
    pub(super) fn to_drop_to() -> Result<Option<Self>, Error> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let known = |name| User::from_name(name).ok().flatten().filter(|user| !user.uid.is_root());
        let user = known("postgres").or_else(|| known("nobody")).ok_or(Error::NoUnprivilegedUser)?;
        Ok(Some(Self { name: user.name, uid: user.uid, gid: user.gid }))
    }
}

/// A locked home; a throwaway one is removed on drop.
#[derive(Debug)]
pub(super) struct Home {
    path: PathBuf,
    account: Option<Account>,
    throwaway: bool,
    _lock: File,
}

impl Home {
    /// A new home under `parent`, after those that dead owners left there are cleared away.
    pub(super) fn throwaway(parent: &Path, account: Option<Account>) -> Result<Self, Error> {
        clear_stale(parent);
        // It gets its telling name only once it is locked, so that nobody takes it for a stale one.
        let unnamed = tempfile::Builder::new().prefix(".accord-").tempdir_in(parent).map_err(at(parent))?;
        let lock = lock(unnamed.path())?;
        let path = parent.join(format!("{PREFIX}{}", uuid::Uuid::new_v4().simple()));
        fs::rename(unnamed.path(), &path).map_err(at(parent))?;
        // The directory is no longer where `unnamed` would look for it; the home removes it from now on.
        let _ = unnamed.keep();
        Self { path, account, throwaway: true, _lock: lock }.prepared()
    }

    /// The home at `path`, made if it is not there, and kept.
    pub(super) fn persistent(path: PathBuf, account: Option<Account>) -> Result<Self, Error> {
        fs::create_dir_all(&path).map_err(at(&path))?;
        let lock = lock(&path)?;
        Self { path, account, throwaway: false, _lock: lock }.prepared()
    }

    /// The server's user may pass through the home; what is its own is handed over to it.
    fn prepared(self) -> Result<Self, Error> {
        let mode = if self.account.is_some() { 0o711 } else { 0o700 };
        fs::set_permissions(&self.path, Permissions::from_mode(mode)).map_err(at(&self.path))?;
        Ok(self)
    }

    /// An empty directory to make the cluster in; [`Self::adopt`] makes it the home's own.
    ///
    /// A cluster is there whole or not at all: one whose making was interrupted is made anew.
    pub(super) fn nursery(&self) -> Result<PathBuf, Error> {
        let path = self.path.join("cluster.new");
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&path)(error)),
            _ => fs::DirBuilder::new().mode(0o700).create(&path).map_err(at(&path))?,
        }
        self.hand_over(&path)?;
        Ok(path)
    }

    pub(super) fn adopt(&self, nursery: &Path) -> Result<(), Error> {
        fs::rename(nursery, self.cluster()).map_err(at(nursery))
    }

    /// Gives `path` to the user that the server runs as.
    fn hand_over(&self, path: &Path) -> Result<(), Error> {
        let Some(account) = &self.account else { return Ok(()) };
        chown(path, Some(account.uid.as_raw()), Some(account.gid.as_raw())).map_err(at(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    pub(super) fn is_throwaway(&self) -> bool {
        self.throwaway
    }

    /// Postgres' own data directory.
    pub(super) fn cluster(&self) -> PathBuf {
        self.path.join("cluster")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path.join("server.log")
    }

    pub(super) fn password_file(&self) -> PathBuf {
        self.path.join("superuser.password")
    }

    /// The superuser's password: the one that the cluster was made with, else a new one.
    pub(super) fn password(&self, new: impl FnOnce() -> String) -> Result<String, Error> {
        let path = self.password_file();
        match fs::read_to_string(&path) {
            Ok(password) => Ok(password),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let password = new();
                write_secret(&path, &password).map_err(at(&path))?;
                self.hand_over(&path)?;
                Ok(password)
            }
            Err(error) => Err(at(&path)(error)),
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.throwaway {
            remove(&self.path);
        }
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    |source| Error::Directory { path, source }
}

fn write_secret(path: &Path, secret: &str) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(secret.as_bytes())
}

fn lock(home: &Path) -> Result<File, Error> {
    let path = home.join(LOCK);
    let file = File::options().create(true).append(true).open(&path).map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse { path: home.to_owned() }),
        Err(TryLockError::Error(source)) => Err(at(&path)(source)),
    }
}

/// Removes the throwaway homes that we own and whose owner is dead. What cannot be removed stays: it is in
/// nobody's way.
fn clear_stale(parent: &Path) {
    for entry in parent.read_dir().into_iter().flatten().flatten() {
        let named_so = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        // `DirEntry::metadata` does not follow links: a planted one is no directory.
        let ours = entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw());
        if !named_so || !ours {
            continue;
        }
        let abandoned = File::open(entry.path().join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok());
        if abandoned {
            tracing::debug!(home = %entry.path().display(), "clearing a Postgres whose owner is dead");
            remove(&entry.path());
        }
    }
}

/// Removes a home. What an initdb that was cut short has started writes on for a moment.
#[expect(clippy::disallowed_methods, reason = "a destructor cannot await")]
fn remove(home: &Path) {
    let began = Instant::now();
    while let Err(error) = fs::remove_dir_all(home) {
        if error.kind() == io::ErrorKind::NotFound {
            return;
        }
        if began.elapsed() > REMOVE_DEADLINE {
            return tracing::warn!(home = %home.display(), %error, "cannot remove a throwaway Postgres");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_whose_owner_is_dead_is_cleared_and_a_living_one_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let living = Home::throwaway(parent.path(), None).unwrap();
        let abandoned = parent.path().join(format!("{PREFIX}abandoned"));
        fs::create_dir(&abandoned).unwrap();
        fs::write(abandoned.join(LOCK), "").unwrap();
        let stranger = parent.path().join("somebody-elses");
        fs::create_dir(&stranger).unwrap();
        fs::write(stranger.join(LOCK), "").unwrap();

        let newcomer = Home::throwaway(parent.path(), None).unwrap();

        assert!(!abandoned.exists());
        assert!(stranger.exists());
        assert!(living.path().exists());
        assert!(newcomer.path().exists());
    }

    #[test]
    fn a_throwaway_home_goes_with_its_owner_and_a_persistent_one_stays() {
        let parent = tempfile::tempdir().unwrap();
        let throwaway = Home::throwaway(parent.path(), None).unwrap();
        let path = throwaway.path().to_owned();
        drop(throwaway);
        assert!(!path.exists());

        let kept = parent.path().join("kept");
        let password = Home::persistent(kept.clone(), None).unwrap().password(|| "first".to_owned()).unwrap();
        assert_eq!(password, "first");
        let again = Home::persistent(kept, None).unwrap().password(|| "second".to_owned()).unwrap();
        assert_eq!(again, "first");
    }

    #[test]
    fn a_home_in_use_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("kept");
        let _owner = Home::persistent(path.clone(), None).unwrap();
        assert!(
            matches!(Home::persistent(path.clone(), None), Err(Error::InUse { path: used }) if used == path)
        );
    }
}
