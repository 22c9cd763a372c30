//! A directory of a test's own, gone with it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

pub struct Dir(PathBuf);

impl Dir {
    pub fn new() -> Dir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("switchboard-it-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Dir(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, contents).unwrap();
        path
    }

    /// Whoever reads it meanwhile sees the old contents or the new ones, as with a link that
    /// Kubernetes turns.
    pub fn replace(&self, name: &str, contents: &str) {
        let next = self.write(&format!("{name}.next"), contents);
        fs::rename(next, self.path(name)).unwrap();
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What Kubernetes makes of a secret: a link to a folder, turned as a whole.
pub struct Mounted {
    dir: Dir,
    next: AtomicU32,
}

impl Mounted {
    pub fn new(files: &[(&str, &str)]) -> Mounted {
        let mounted = Mounted {
            dir: Dir::new(),
            next: AtomicU32::new(0),
        };
        mounted.turn(files);
        mounted
    }

    pub fn turn(&self, files: &[(&str, &str)]) {
        let folder = format!("..{}", self.next.fetch_add(1, Ordering::Relaxed));
        fs::create_dir(self.dir.path(&folder)).unwrap();
        for (name, contents) in files {
            self.dir.write(&format!("{folder}/{name}"), contents);
        }
        let _ = fs::remove_file(self.dir.path("..next"));
        symlink(&folder, self.dir.path("..next")).unwrap();
        fs::rename(self.dir.path("..next"), self.dir.path("..data")).unwrap();
    }

    /// Of a file as it is mounted.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path(&format!("..data/{name}"))
    }
}
