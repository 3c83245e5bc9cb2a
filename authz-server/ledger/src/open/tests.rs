//! How long a start takes with very many entries, and how much of the ledger it reads for that.
//!
//! `PALISADE_RECOVERY_ENTRIES` makes it more; two million are to be opened within two seconds, after a crash.

use std::sync::atomic::AtomicU64 as Count;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::*;
use crate::entry::tests::decision;
use crate::file::{Disk, DiskFile};
use crate::ledger::Ledger;
use crate::limits::SEGMENT_BYTES_MAX;

const ENTRIES: u64 = 20_000;
const OPEN_MAX: Duration = Duration::from_secs(2);

/// The real disk, with what is read counted.
#[derive(Clone, Debug, Default)]
struct Counting(Arc<Count>);

#[derive(Debug)]
struct CountingFile(DiskFile, Arc<Count>);

impl crate::file::ReadAt for CountingFile {
    fn length(&self) -> std::io::Result<u64> {
        self.0.length()
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let read = self.0.read_at(bytes, offset)?;
        self.1.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl WriteAt for CountingFile {
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn truncate(&mut self, length: u64) -> std::io::Result<()> {
        self.0.truncate(length)
    }

    fn sync(&mut self) -> std::io::Result<()> {
        self.0.sync()
    }
}

impl Counting {
    fn counted(&self, file: std::io::Result<DiskFile>) -> std::io::Result<CountingFile> {
        file.map(|file| CountingFile(file, Arc::clone(&self.0)))
    }
}

impl Files for Counting {
    type File = CountingFile;

    fn create(&self, path: &Path) -> std::io::Result<CountingFile> {
        self.counted(Disk.create(path))
    }

    fn open(&self, path: &Path) -> std::io::Result<CountingFile> {
        self.counted(Disk.open(path))
    }

    fn open_to_read(&self, path: &Path) -> std::io::Result<CountingFile> {
        self.counted(Disk.open_to_read(path))
    }

    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        Disk.read(path)
    }

    fn list(&self, dir: &Path) -> std::io::Result<Vec<String>> {
        Disk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        Disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> std::io::Result<()> {
        Disk.remove(path)
    }

    fn remove_dir(&self, dir: &Path) -> std::io::Result<()> {
        Disk.remove_dir(dir)
    }

    fn create_dir(&self, dir: &Path) -> std::io::Result<()> {
        Disk.create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> std::io::Result<()> {
        Disk.sync_dir(dir)
    }

    fn has_writer(&self, dir: &Path) -> bool {
        Disk.has_writer(dir)
    }
}

async fn fill(ledger: &Ledger, entries: u64) {
    let mut waiting = Vec::new();
    for number in 0..entries {
        waiting.push(ledger.append(&decision(&format!("01a1fe3c-22e2-72bf-b97b-{number:012x}"))));
        if waiting.len() == 1000 {
            for append in waiting.drain(..) {
                append.await.unwrap();
            }
        }
    }
    for append in waiting {
        append.await.unwrap();
    }
}

/// As a kill leaves it: the last segment has entries, torn ones too, and no checkpoint covers them.
fn tear(dir: &Path) {
    let last = Chain::read(&Disk, dir).unwrap().segments.pop().unwrap().path;
    let mut file = Disk.open(&last).unwrap();
    let mut contents = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
    file.read_at(&mut contents, 0).unwrap();
    let end = contents.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let cut = end.div_ceil(512) * 512 - 512;
    file.write_all_at(&vec![0; end - cut], cut as u64).unwrap();
}

#[tokio::test]
async fn a_start_reads_the_headers_and_the_last_segment_and_no_more() {
    let entries = match std::env::var("PALISADE_RECOVERY_ENTRIES") {
        Ok(text) => text.parse().expect("`PALISADE_RECOVERY_ENTRIES` is a number"),
        Err(_) => ENTRIES,
    };
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { checkpoint_every: Duration::from_secs(3600), ..Settings::default() };
    let (ledger, _) = Ledger::open_with(dir.path(), &settings).unwrap();
    fill(&ledger, entries).await;
    // Copied while it is being written, so that it was never closed.
    let copied = tempfile::tempdir().unwrap();
    copy(dir.path(), copied.path());
    ledger.close().await.unwrap();
    drop(dir);
    tear(copied.path());
    let segments = Chain::read(&Disk, copied.path()).unwrap().segments;

    let files = Counting::default();
    let queue = Arc::new(Queue::new(crate::queue::Bounds::default()));
    let sizes = Sizes { segment_bytes_min: 1024 * 1024, segment_bytes_max: SEGMENT_BYTES_MAX };
    let began = Instant::now();
    let opened = open(&files, copied.path(), &queue, sizes, &settings).unwrap();
    let took = began.elapsed();
    let read = files.0.load(Ordering::Relaxed);
    println!(
        "{} entries in {} segments: opened in {took:?} after reading {read} bytes, {} bytes cut off",
        opened.recovery.entries,
        segments.len(),
        opened.recovery.truncated_bytes
    );
    assert!(opened.recovery.entries >= entries - 1000 && opened.recovery.truncated_bytes > 0);
    assert!(took < OPEN_MAX, "{took:?}");
    // The last segment is walked once and looked at once more behind its end; a prepared one is looked at too.
    assert!(read < 4 * SEGMENT_BYTES_MAX + segments.len() as u64 * 1024, "{read} bytes");
    drop(opened);

    // The tree catches up behind a server that serves already.
    let began = Instant::now();
    let (ledger, _) = Ledger::open(copied.path()).unwrap();
    let entries = ledger.entries();
    while ledger.health().signed.entries < entries {
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", ledger.health());
        tokio::task::yield_now().await;
    }
    println!("the tree covers all of them after {:?}", began.elapsed());
    ledger.close().await.unwrap();
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let there = to.join(path.file_name().unwrap());
        if path.is_dir() {
            std::fs::create_dir_all(&there).unwrap();
            copy(&path, &there);
        } else {
            std::fs::copy(&path, &there).unwrap();
        }
    }
}
