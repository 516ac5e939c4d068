//! The columns of a table's log beside ours, told by their names.
//!
//! What always holds: a table that passes lacks at most columns which an older version did not have, and has no other.

use delta_kernel::schema::{StructField, StructType};

use crate::Table;

/// Why a table cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// It is not ours; the first difference, in words.
    Foreign(String),
    /// It has all our columns, and this one.
    Newer(String),
}

/// What keeps us from using a table of these columns; nothing when an older version may have made it, or this one.
pub(super) fn mismatch(table: Table, ours: &StructType, theirs: &StructType) -> Option<Mismatch> {
    let lacking = lacking(ours, theirs);
    if let Some(column) = lacking.iter().find(|column| !table.may_lack(column.name())) {
        return Some(Mismatch::Foreign(format!("it has no column {:?}", column.name())));
    }
    let of_both = theirs.fields().filter_map(|column| Some((column, ours.field(column.name())?)));
    for (theirs, ours) in of_both {
        if theirs != ours {
            let nullable = |column: &StructField| if column.is_nullable() { "" } else { ", never null" };
            return Some(Mismatch::Foreign(format!(
                "its column {:?} is of the type {}{}, not {}{}",
                theirs.name(),
                theirs.data_type(),
                nullable(theirs),
                ours.data_type(),
                nullable(ours),
            )));
        }
    }
    let unknown = theirs.fields().find(|column| !ours.contains(column.name()))?;
    Some(if lacking.is_empty() {
        Mismatch::Newer(unknown.name().clone())
    } else {
        Mismatch::Foreign(format!("it has an unknown column {:?}", unknown.name()))
    })
}

/// The columns of ours that a table lacks, in our order.
pub(super) fn lacking(ours: &StructType, theirs: &StructType) -> Vec<StructField> {
    ours.fields().filter(|column| !theirs.contains(column.name())).cloned().collect()
}

#[cfg(test)]
impl super::DeltaLog {
    /// As an older version knows the table: without these columns.
    pub(crate) fn without(mut self, lacking: &[&str]) -> Self {
        let kept = self.columns.fields().filter(|column| !lacking.contains(&column.name().as_str()));
        self.columns = std::sync::Arc::new(StructType::try_new(kept.cloned()).unwrap());
        self
    }

    /// As a newer version knows the table: with one more column.
    pub(crate) fn with_column(mut self, name: &str) -> Self {
        let more = StructField::nullable(name, delta_kernel::schema::DataType::LONG);
        self.columns = std::sync::Arc::new(StructType::try_new(self.columns.fields().cloned().chain([more])).unwrap());
        self
    }
}

#[cfg(test)]
mod tests {
    use delta_kernel::{engine::arrow_conversion::TryIntoKernel, schema::DataType};

    use super::*;

    fn ours() -> StructType {
        Table::Ledger.full_schema().as_ref().try_into_kernel().unwrap()
    }

    fn of(columns: impl IntoIterator<Item = StructField>) -> StructType {
        StructType::try_new(columns).unwrap()
    }

    fn text(name: &str) -> StructField {
        StructField::nullable(name, DataType::STRING)
    }

    fn mismatch_with(columns: impl IntoIterator<Item = StructField>) -> Option<Mismatch> {
        mismatch(Table::Ledger, &ours(), &of(columns))
    }

    #[test]
    fn a_table_of_an_older_version_passes_in_whatever_order_its_columns_stand() {
        let mut columns: Vec<_> = ours().fields().cloned().collect();
        assert_eq!(mismatch_with(columns.clone()), None);
        columns.reverse();
        columns.retain(|column| !["gaps", "doubtful"].contains(&column.name().as_str()));
        assert_eq!(mismatch_with(columns.clone()), None);
        let lacked: Vec<_> = lacking(&ours(), &of(columns)).iter().map(|column| column.name().clone()).collect();
        assert_eq!(lacked, ["gaps", "doubtful"]);
    }

    #[test]
    fn a_table_with_more_columns_is_a_newer_ones() {
        let columns = ours().fields().cloned().chain([text("later")]).collect::<Vec<_>>();
        assert_eq!(mismatch_with(columns), Some(Mismatch::Newer("later".into())));
    }

    #[test]
    fn a_table_that_is_not_ours_is_told_by_its_first_difference() {
        let foreign = |columns: Vec<StructField>| match mismatch_with(columns) {
            Some(Mismatch::Foreign(difference)) => difference,
            other => panic!("{other:?}"),
        };
        let without =
            |name: &'static str| ours().fields().filter(move |column| column.name() != name).cloned().collect();
        assert_eq!(foreign(without("signal")), "it has no column \"signal\"");
        let mut columns: Vec<_> = without("gaps");
        columns.push(text("note"));
        assert_eq!(foreign(columns), "it has an unknown column \"note\"");
        let mut columns: Vec<_> = without("gaps");
        columns.push(text("gaps"));
        assert_eq!(foreign(columns), "its column \"gaps\" is of the type string, not long");
    }
}
