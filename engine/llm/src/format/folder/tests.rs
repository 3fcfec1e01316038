use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::*;
use crate::format::scratch::Scratch;
use crate::format::{Files, MappedFile};

const CONTENTS: &[u8] = b"contents of a file";

/// A folder with the file `model`, and another one beside it.
fn folder() -> (Scratch, Scratch, Folder) {
    let (scratch, outside) = (Scratch::new(), Scratch::new());
    scratch.write("model", CONTENTS);
    outside.write("secret", b"of another");
    let folder = Folder::open(scratch.path()).expect("a folder");
    (scratch, outside, folder)
}

fn record(folder: &Folder) -> FileRecord {
    folder.record("model", &mut || true).expect("a file")
}

fn refusal(folder: &Folder, path: &str) -> String {
    let error = folder.file(path).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{path}: {error}");
    error.detail().unwrap_or_default().to_owned()
}

#[test]
fn a_recorded_file_is_mapped_while_it_is_the_same() {
    let (_scratch, _outside, folder) = folder();
    let record = record(&folder);
    let file = folder.verified(&record).expect("unchanged");
    assert_eq!(&MappedFile::open(&file).expect("mapped")[..], CONTENTS);
    // The SHA-256 of the text, by another program.
    let hex: String = record.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        "47d22db938e01ee66508fe3e43d3eaba88965cefa83aed5d6d2f459a732f362b"
    );
}

#[test]
fn a_file_that_was_changed_or_exchanged_is_no_longer_the_recorded_one() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 5] = [
        ("truncated", |path| {
            let file = OpenOptions::new().write(true).open(path).expect("open");
            file.set_len(3).expect("shorter");
        }),
        ("longer", |path| {
            fs::write(path, [CONTENTS, b"more"].concat()).expect("written");
        }),
        ("same length, later", |path| {
            fs::write(path, [b'x'; CONTENTS.len()]).expect("written");
            let later = SystemTime::now() + Duration::from_secs(5);
            let file = File::options().write(true).open(path).expect("open");
            file.set_modified(later).expect("a time");
        }),
        ("swapped for a copy", |path| {
            let modified = fs::metadata(path).expect("there").modified().expect("a time");
            let copy = path.with_extension("copy");
            fs::copy(path, &copy).expect("a copy");
            let file = File::options().write(true).open(&copy).expect("open");
            file.set_modified(modified).expect("a time");
            fs::rename(copy, path).expect("renamed");
        }),
        ("removed", |path| fs::remove_file(path).expect("removed")),
    ];
    for (what, change) in changes {
        let (scratch, _outside, folder) = folder();
        let record = record(&folder);
        change(&scratch.path().join("model"));
        let error = folder.verified(&record).expect_err(what);
        let expected = if what == "removed" {
            ErrorKind::InvalidArgument
        } else {
            ErrorKind::CorruptFile
        };
        assert_eq!(error.kind(), expected, "{what}: {error}");
        let records = [record];
        let files = Files::recorded(&folder, &records);
        assert!(files.storage("model").is_err(), "{what}");
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_read_gives_an_error() {
    let (scratch, _outside, folder) = folder();
    let file = folder.file("model").expect("open");
    let mut bytes = [0; CONTENTS.len()];
    file.read_at(&mut bytes, 0).expect("whole");
    assert_eq!(bytes, CONTENTS);
    scratch.write("model", &CONTENTS[..4]);
    let error = file.read_at(&mut bytes, 0).expect_err("too short");
    assert_eq!(error.kind(), ErrorKind::CorruptFile);
    let error = file.check_unchanged().expect_err("changed");
    assert_eq!(error.kind(), ErrorKind::CorruptFile);
}

#[test]
fn no_path_leaves_the_folder() {
    let (scratch, outside, folder) = folder();
    let secret = outside.path().join("secret");
    symlink(&secret, scratch.path().join("link")).expect("a link");
    symlink(outside.path(), scratch.path().join("folder-link")).expect("a link");
    symlink("model", scratch.path().join("inner-link")).expect("a link");
    symlink("loop", scratch.path().join("loop")).expect("a link");
    let up = format!(
        "../{}/secret",
        outside.path().file_name().unwrap_or_default().display()
    );
    for path in [
        "",
        ".",
        "..",
        "/",
        "/etc/passwd",
        "../model",
        "a/../../model",
        &up,
        &secret.display().to_string(),
    ] {
        assert!(refusal(&folder, path).contains("not named by its path"), "{path}");
    }
    for path in ["link", "folder-link/secret"] {
        assert!(refusal(&folder, path).contains("outside"), "{path}");
    }
    for path in ["loop", "absent", "model/within", "nul\0", &"long".repeat(5000)] {
        refusal(&folder, path);
    }
    assert_eq!(
        folder.file("inner-link").expect("inside").bytes(),
        CONTENTS.len() as u64
    );
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let (scratch, _outside, folder) = folder();
    fs::create_dir(scratch.path().join("directory")).expect("a folder");
    assert!(refusal(&folder, "directory").contains("no regular file"));
    // Nobody will ever write into this pipe.
    let made = Command::new("mkfifo").arg(scratch.path().join("pipe")).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo");
    assert!(refusal(&folder, "pipe").contains("no regular file"));
    assert!(folder.record("pipe", &mut || true).is_err());
    let files = Files::any(&folder);
    assert!(files.small("pipe", 100).expect("as if absent").is_none());
    assert!(Folder::open(&scratch.path().join("model")).is_err());
    assert!(Folder::open(&scratch.path().join("absent")).is_err());
}

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn an_unreadable_file_is_refused() {
    let (scratch, _outside, folder) = folder();
    let path = scratch.path().join("model");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o0)).expect("permissions");
    if File::open(&path).is_ok() {
        eprintln!("SKIPPED an_unreadable_file_is_refused: this user may read every file");
        return;
    }
    assert!(refusal(&folder, "model").contains("denied"));
}

#[test]
fn an_empty_file_is_a_file() {
    let (scratch, _outside, folder) = folder();
    scratch.write("model", b"");
    let record = record(&folder);
    assert_eq!(record.identity.bytes, 0);
    let file = folder.verified(&record).expect("unchanged");
    assert!(MappedFile::open(&file).is_ok_and(|map| map.is_empty()));
    assert_eq!(
        Files::any(&folder).small("model", 0).expect("read").as_deref(),
        Some(&[][..])
    );
    assert!(crate::format::ModelFile::read(Files::any(&folder), "model").is_err());
}

#[test]
fn small_files_are_bounded_and_must_have_the_recorded_contents() {
    let (scratch, _outside, folder) = folder();
    let most = CONTENTS.len() as u64;
    let error = Files::any(&folder)
        .small("model", most - 1)
        .expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    let mut records = [record(&folder)];
    let recorded = Files::recorded(&folder, &records);
    assert_eq!(
        recorded.small("model", most).expect("read").as_deref(),
        Some(CONTENTS)
    );
    // A file that nobody recorded is not there.
    scratch.write("other", b"other");
    assert_eq!(recorded.small("other", most), Ok(None));
    assert!(recorded.storage("other").is_err());
    records[0].sha256[0] ^= 1;
    let error = Files::recorded(&folder, &records).small("model", most);
    assert_eq!(error.map_err(|error| error.kind()), Err(ErrorKind::CorruptFile));
}

#[test]
fn recording_can_be_cancelled() {
    let (_scratch, _outside, folder) = folder();
    let error = folder.record("model", &mut || false).expect_err("cancelled");
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}
