//! What always holds of plans, for any files; and days of traffic, merged as planned.

use std::collections::BTreeSet;

use object_store::path::Path;
use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

fn policy() -> Policy {
    Policy::with_memory(64 * MIB)
}

fn at(day: i32, minutes: i64) -> DateTime<Utc> {
    end_of(day - 1) + TimeDelta::minutes(minutes)
}

fn candidate(number: usize, date: i32, size_bytes: u64, modified: DateTime<Utc>, seconds: Option<u32>) -> Candidate {
    let path = Path::from(format!("t/date={date}/part-{number:09}"));
    // As many rows as bytes there are 64 of, as in the table of requests.
    Candidate {
        file: LiveFile { path, size_bytes, modified, date: Some(date), rows: Some(size_bytes / 64 + 1) },
        seconds,
    }
}

fn candidates(seconds: bool) -> impl Strategy<Value = Vec<Candidate>> {
    let size = prop_oneof![1..64 * 1024_u64, 1..8 * MIB, 1..200 * MIB];
    let covered = prop_oneof![Just(10_u32), Just(60), Just(3600), Just(86_400)];
    let file = (0..4_i32, size, 0..3 * 24 * 60_i64, covered);
    proptest::collection::vec(file, 0..60).prop_map(move |files| {
        let of = |(number, (date, size, minutes, covered)): (usize, (i32, u64, i64, u32))| {
            candidate(number, date, size, at(date, minutes), seconds.then_some(covered))
        };
        files.into_iter().enumerate().map(of).collect()
    })
}

/// What a merge makes of a job, when rows compress as before: files of the target's size, and what is left.
fn merged(job: &Job, number: &mut usize, now: DateTime<Utc>, policy: &Policy) -> Vec<Candidate> {
    let mut left: u64 = job.files.iter().map(|file| file.size_bytes).sum();
    let mut outputs = Vec::new();
    while left > 0 {
        let size = left.min(policy.target_bytes);
        left -= size;
        *number += 1;
        outputs.push(candidate(*number, job.date, size, now, (job.seconds > 0).then_some(job.seconds)));
    }
    outputs
}

fn carry_out(jobs: &[Job], candidates: &mut Vec<Candidate>, number: &mut usize, now: DateTime<Utc>) {
    for job in jobs {
        let taken: BTreeSet<&Path> = job.files.iter().map(|file| &file.path).collect();
        candidates.retain(|candidate| !taken.contains(&candidate.file.path));
        candidates.extend(merged(job, number, now, &policy()));
    }
}

proptest! {
    #[test]
    fn a_file_is_in_one_job_at_most_and_a_job_is_of_one_date(candidates in candidates(true), day in 0..40, at_rest in any::<bool>()) {
        let jobs = plan(Table::Metrics, &candidates, &policy(), at(day, 7), at_rest);
        let mut seen = BTreeSet::new();
        for file in jobs.iter().flat_map(|job| &job.files) {
            prop_assert!(seen.insert(&file.path));
        }
        for job in &jobs {
            prop_assert!(job.files.iter().all(|file| file.date == Some(job.date)));
        }
    }

    #[test]
    fn a_job_fits_into_the_memory_unless_it_is_of_two_files(candidates in candidates(false), at_rest in any::<bool>()) {
        for job in plan(Table::Requests, &candidates, &policy(), at(3, 7), at_rest) {
            let memory: u64 = job.files.iter().map(|file| memory_of(Table::Requests, file)).sum();
            prop_assert!(job.files.len() == 2 || memory + OUTPUT_BYTES <= policy().memory_bytes, "{memory}");
        }
    }

    #[test]
    fn doing_what_is_planned_comes_to_an_end(mut files in candidates(true), day in 0..40, requests in any::<bool>()) {
        let table = if requests { Table::Requests } else { Table::Metrics };
        let (now, mut number, mut rounds) = (at(day, 7), 1000, 0);
        loop {
            let jobs = plan(table, &files, &policy(), now, true);
            if jobs.is_empty() {
                break;
            }
            carry_out(&jobs, &mut files, &mut number, now);
            rounds += 1;
            prop_assert!(rounds < 20, "{} files", files.len());
        }
        for date in 0..4 {
            let small = |file: &&Candidate| file.file.date == Some(date) && file.file.size_bytes < full_bytes(&policy());
            prop_assert!(files.iter().filter(small).count() <= 1);
        }
    }
}

#[test]
fn days_of_a_flush_a_minute_keep_few_files_and_write_each_row_a_few_times() {
    for flush_bytes in [3 << 10, 40 << 10, 2 * MIB] {
        let (mut files, mut number, mut most, mut written) = (Vec::new(), 0, 0, 0);
        for minute in 0..4 * 24 * 60_i64 {
            let (day, now) = (i32::try_from(minute / 1440).unwrap(), at(0, minute));
            number += 1;
            files.push(candidate(number, day, flush_bytes, now, None));
            let jobs = plan(Table::Requests, &files, &policy(), now, false);
            written += jobs.iter().flat_map(|job| &job.files).map(|file| file.size_bytes).sum::<u64>();
            carry_out(&jobs, &mut files, &mut number, now);
            let full = files.iter().filter(|file| file.file.size_bytes >= full_bytes(&policy())).count();
            most = most.max(files.len() - full);
        }
        let flushed = flush_bytes * 4 * 24 * 60;
        assert!(most < 50, "{most} files of {flush_bytes} bytes");
        assert!(written < 6 * flushed, "{} times", written as f64 / flushed as f64);
    }
}

#[test]
fn late_rows_do_not_have_a_large_file_written_anew() {
    let (mut number, mut written) = (1, 0);
    let mut files = vec![candidate(1, 0, 80 * MIB, at(1, 0), None)];
    for minute in 120..24 * 60_i64 {
        number += 1;
        files.push(candidate(number, 0, 3 << 10, at(1, minute), None));
        let jobs = plan(Table::Requests, &files, &policy(), at(1, minute), false);
        written += jobs.iter().flat_map(|job| &job.files).map(|file| file.size_bytes).sum::<u64>();
        carry_out(&jobs, &mut files, &mut number, at(1, minute));
    }
    assert!(files.len() < 10 && written < 80 * MIB, "{} files, {written} bytes", files.len());
}

#[test]
fn cells_become_minutes_after_a_day_and_hours_after_a_month() {
    let fine = [candidate(1, 0, 1000, at(0, 5), Some(10))];
    let seconds = |day, minutes| {
        let jobs = plan(Table::Metrics, &fine, &policy(), at(day, minutes), false);
        jobs.first().map(|job| job.seconds)
    };
    assert_eq!(seconds(1, 0), None);
    assert_eq!(seconds(1, 24 * 60 - 1), None);
    assert_eq!(seconds(2, 0), Some(60));
    assert_eq!(seconds(30, 24 * 60 - 1), Some(60));
    assert_eq!(seconds(31, 0), Some(3600));
    let coarse = [candidate(1, 0, 1000, at(0, 5), Some(60))];
    assert_eq!(plan(Table::Metrics, &coarse, &policy(), at(3, 0), false), []);
}
