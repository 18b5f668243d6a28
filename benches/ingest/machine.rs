//! What the disk costs: without it no figure of a database that syncs its commits means anything.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Instant;

use nix::sys::statfs::{TMPFS_MAGIC, statfs};

/// How long it takes until a small write is on disk, in milliseconds: the median of some.
///
/// Writes a page of the log's size and syncs it, over and over, in a directory where Postgres is.
pub(crate) fn sync_ms(directory: &Path) -> anyhow::Result<f64> {
    const TIMES: usize = 50;
    anyhow::ensure!(
        statfs(directory)?.filesystem_type() != TMPFS_MAGIC,
        "{} is in memory, where a sync costs nothing: nothing measured there would be true of a disk",
        directory.display()
    );
    let file = File::create(directory.join("sync"))?;
    let page = [7; 8192];
    // Allocated first, as the segments of Postgres' log are.
    file.write_all_at(&page, 0)?;
    file.sync_all()?;
    let mut times = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let began = Instant::now();
        file.write_all_at(&page, 0)?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(times[TIMES / 2].as_secs_f64() * 1e3)
}
