use std::fs;

use super::*;
use crate::limits::quota::Denied;

const LIMIT: u64 = 500;

/// No disk is so slow that a request is counted without it.
const LONG: Duration = Duration::from_secs(600);

fn open(directory: &Path) -> Arc<QuotaBook> {
    let (file, entries) = CountsFile::open(directory).unwrap();
    QuotaBook::begin(file, entries, LONG).unwrap()
}

fn name(text: &str) -> Arc<str> {
    text.into()
}

fn counter(book: &QuotaBook) -> Arc<Counter> {
    book.counter(&name("basic"), &name("k1"), Period::Month { offset: 0 })
}

/// Counts one request, as the gateway does.
async fn pass(book: &QuotaBook, counter: &Arc<Counter>, limit: u64) -> bool {
    let mut waives = false;
    loop {
        match counter.try_use(limit, today(), waives) {
            Ok(used) => {
                if used.is_low {
                    book.want(counter, limit);
                }
                return true;
            }
            Err(Denied::UsedUp { .. }) => return false,
            Err(Denied::NoReservation) => waives = !book.wait(counter, limit).await,
        }
    }
}

/// What a gateway would find that started now on what is on disk: the state that a kill at this moment leaves.
fn after_a_crash(directory: &Path) -> u64 {
    let copy = tempfile::tempdir().unwrap();
    for file in ["counts", "counts.new"] {
        if let Ok(text) = fs::read(directory.join(file)) {
            fs::write(copy.path().join(file), text).unwrap();
        }
    }
    let book = open(copy.path());
    counter(&book).used(today()).requests
}

#[tokio::test]
async fn a_crash_after_any_request_gives_none_back_and_takes_at_most_a_block() {
    let directory = tempfile::tempdir().unwrap();
    let book = open(directory.path());
    let counter = counter(&book);
    for passed in 1..=LIMIT {
        assert!(pass(&book, &counter, LIMIT).await);
        let found = after_a_crash(directory.path());
        // The largest block is a hundredth of the limit.
        assert!((passed..=passed + LIMIT / 100).contains(&found), "{found} after {passed}");
    }
    assert!(!pass(&book, &counter, LIMIT).await);
    assert_eq!(book.failures(), 0);
}

#[tokio::test]
async fn a_quota_that_is_small_is_exact_to_the_request_over_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let book = open(directory.path());
    let counter = counter(&book);
    for passed in 1..=20 {
        assert!(pass(&book, &counter, 100).await);
        assert_eq!(after_a_crash(directory.path()), passed);
    }
}

#[tokio::test]
async fn a_clean_stop_takes_nothing_and_the_next_start_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    for round in 1..=3 {
        let book = open(directory.path());
        let counter = counter(&book);
        for _ in 0..7 {
            assert!(pass(&book, &counter, 100_000).await);
        }
        book.close();
        assert_eq!(after_a_crash(directory.path()), 7 * round);
    }
}

#[tokio::test]
async fn requests_that_wait_at_once_are_all_counted_and_none_beyond_the_limit() {
    let directory = tempfile::tempdir().unwrap();
    let book = open(directory.path());
    let counter = counter(&book);
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (book, counter) = (Arc::clone(&book), Arc::clone(&counter));
        requests.spawn(async move { pass(&book, &counter, 150).await });
    }
    let passed = requests.join_all().await.into_iter().filter(|passed| *passed).count();
    assert_eq!(passed, 150);
    assert_eq!(after_a_crash(directory.path()), 150);
    assert_eq!(counter.waiting.load(SeqCst), 0);
}

#[tokio::test]
async fn a_disk_that_fails_stops_no_request_and_is_written_anew_when_it_works_again() {
    let directory = tempfile::tempdir().unwrap();
    let (mut file, entries) = CountsFile::open(directory.path()).unwrap();
    file.refuse_appends();
    let path = directory.path().to_owned();
    fs::create_dir(path.join("counts.new")).unwrap();
    let book = QuotaBook::begin(file, entries, LONG).unwrap();
    let counter = counter(&book);
    for _ in 0..5 {
        assert!(pass(&book, &counter, 100).await);
    }
    assert!(book.failures() >= 1);
    assert_eq!(after_a_crash(&path), 0);
    fs::remove_dir(path.join("counts.new")).unwrap();
    assert!(pass(&book, &counter, 100).await);
    assert_eq!(after_a_crash(&path), 6);
    let failures = book.failures();
    assert!(pass(&book, &counter, 100).await);
    assert_eq!((after_a_crash(&path), book.failures()), (7, failures));
}

#[tokio::test]
async fn a_closed_book_keeps_nobody_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let book = open(directory.path());
    let counter = counter(&book);
    book.close();
    assert!(!book.wait(&counter, 10).await);
    assert!(pass(&book, &counter, 10).await);
}

#[tokio::test]
async fn counts_of_plans_that_are_gone_for_now_are_kept_until_their_period_ends() {
    let directory = tempfile::tempdir().unwrap();
    let day = today();
    let old =
        |period: &str, start| Entry { plan: "gone".into(), key: period.into(), period: period.into(), start, used: 3 };
    let (mut file, _) = CountsFile::open(directory.path()).unwrap();
    let entries =
        [old("day", day), old("week", day - 6), old("month", day - 30), old("year", day), old("day", day - 1)];
    file.append(&entries).unwrap();
    file.append(&[old("week", day - 7), old("month", day - 31)][..1]).unwrap();
    drop(file);
    open(directory.path()).close();
    let (_file, mut kept) = CountsFile::open(directory.path()).unwrap();
    kept.sort_by(|a, b| a.key.cmp(&b.key));
    // The last of each name holds: yesterday's day and last week's are over.
    assert_eq!(kept, [old("month", day - 30)]);
}

#[tokio::test]
async fn a_long_file_is_written_anew_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (mut file, _) = CountsFile::open(directory.path()).unwrap();
    let long = "x".repeat(100_000);
    for used in 0..12 {
        file.append(&[Entry { plan: long.clone(), key: "k".into(), period: "day".into(), start: 1, used }]).unwrap();
    }
    assert!(file.is_long());
    drop(file);
    let (mut file, entries) = CountsFile::open(directory.path()).unwrap();
    // As it was before it grew.
    file.append(&[]).unwrap();
    file.rewrite(&[]).unwrap();
    for entry in &entries {
        file.append(std::slice::from_ref(entry)).unwrap();
    }
    let book = QuotaBook::begin(file, entries, LONG).unwrap();
    let counter = counter(&book);
    for _ in 0..4 {
        assert!(pass(&book, &counter, 100).await);
    }
    let bytes = fs::metadata(directory.path().join("counts")).unwrap().len();
    assert!(bytes < 10_000, "{bytes}");
    assert_eq!(after_a_crash(directory.path()), 4);
}

#[tokio::test]
async fn a_disk_that_hangs_keeps_a_request_only_so_long() {
    let directory = tempfile::tempdir().unwrap();
    let (file, entries) = CountsFile::open(directory.path()).unwrap();
    let book = QuotaBook::begin(file, entries, Duration::ZERO).unwrap();
    let counter = counter(&book);
    // The writer, as it seems, has been asked already, and does not come to it.
    counter.is_wanted.store(true, SeqCst);
    assert!(pass(&book, &counter, 100).await);
    assert_eq!(counter.used(today()).requests, 1);
}
