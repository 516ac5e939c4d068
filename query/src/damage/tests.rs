//! What statements say of files whose bytes have changed.

use std::{collections::BTreeMap, fs};

use super::*;
use crate::testing::{COMMITTED, DAY_US, TestLake, csv};

const ALL_COLUMNS: &str = "SELECT * FROM requests ORDER BY time";

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_over_a_damaged_file_fails_with_the_files_name_or_has_an_answer_and_takes_nobody_down() {
    let test = TestLake::open().await;
    test.commit(&(0..300).map(|second| DAY_US + second * 1_000_000).collect::<Vec<_>>(), 1).await;
    let snapshot = test.lake.table(weir_lake::Table::Requests).snapshot().await.unwrap();
    let file = snapshot.files().iter().next().unwrap().path.clone();
    let on_disk = format!("/{file}");
    let (whole, expected) = (fs::read(&on_disk).unwrap(), csv(&test.engine(), ALL_COLUMNS, COMMITTED).await.unwrap());
    let mut outcomes: BTreeMap<&str, u32> = BTreeMap::new();
    for place in (0..whole.len()).rev().step_by(5) {
        let mut damaged = whole.clone();
        damaged[place] ^= 1 << (place % 8);
        fs::write(&on_disk, damaged).unwrap();
        // An engine of its own: another one has the footer in memory.
        let outcome = match csv(&test.engine(), ALL_COLUMNS, COMMITTED).await {
            Ok(text) if text == expected => "right",
            Ok(_) => "wrong",
            Err(error) => {
                assert!(matches!(error, QueryError::Store(_)), "byte {place}: {error:?}");
                let text = error.to_string();
                assert!(text.contains(file.as_ref()) && text.contains("is damaged"), "byte {place}: {text}");
                if text.contains("panicked") { "panicked" } else { "refused" }
            }
        };
        *outcomes.entry(outcome).or_default() += 1;
        let found = verify::difference(test.lake.store().as_ref(), &file, whole.len() as u64).await.unwrap();
        assert!(found.is_some(), "byte {place}");
    }
    fs::write(&on_disk, &whole[..whole.len() - 1]).unwrap();
    let error = csv(&test.engine(), ALL_COLUMNS, COMMITTED).await.unwrap_err().to_string();
    assert!(error.contains(file.as_ref()), "{error}");
    eprintln!("of {} bytes, each fifth flipped: {outcomes:?}", whole.len());
    assert!(outcomes["refused"] > 0, "{outcomes:?}");
}
