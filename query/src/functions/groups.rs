//! The state of a sketch aggregate: one histogram for each group that has seen a sketch.
//!
//! One type serves statements with and without GROUP BY. Its size is reported to the memory pool, which bounds the number
//! of groups: past the limit DataFusion spills the states, and they come back through `merge_batch`.

use std::{mem::size_of, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray, Int64Array},
    datatypes::DataType,
};
use datafusion::{
    common::{Result, ScalarValue, exec_datafusion_err},
    logical_expr::{Accumulator, EmitTo, GroupsAccumulator},
};
use weir_lake::Sketch;

use super::{bigint, damaged};

/// What one histogram takes of the heap: 3328 counts of eight bytes at the bounds and the precision of
/// [`weir_lake::Sketch`], and its own fields.
const SKETCH_BYTES: usize = 27 * 1024;

/// What an aggregate says of a group in the end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    /// The merged sketch.
    Sketch,
    /// A quantile of it, µs.
    Quantile(f64),
}

/// The histograms of the groups.
#[derive(Debug)]
pub(super) struct Groups {
    function: &'static str,
    answer: Answer,
    sketches: Vec<Option<Box<Sketch>>>,
    held: usize,
}

impl Groups {
    pub(super) fn new(function: &'static str, answer: Answer) -> Self {
        Self { function, answer, sketches: Vec::new(), held: 0 }
    }

    fn merge(&mut self, group: usize, bytes: &[u8]) -> Result<()> {
        let held = &mut self.held;
        let sketch = self.sketches[group].get_or_insert_with(|| {
            *held += 1;
            Box::new(Sketch::new())
        });
        sketch.merge_bytes(bytes).map_err(|error| damaged(self.function, error))
    }

    fn take(&mut self, emit_to: EmitTo) -> Vec<Option<Box<Sketch>>> {
        let taken = emit_to.take_needed(&mut self.sketches);
        self.held -= taken.iter().flatten().count();
        taken
    }

    fn answers(&self, sketches: &[Option<Box<Sketch>>]) -> ArrayRef {
        match self.answer {
            Answer::Sketch => Arc::new(serialized(sketches)),
            Answer::Quantile(quantile) => {
                let filled = |sketch: &Option<Box<Sketch>>| {
                    let sketch = sketch.as_deref().filter(|sketch| sketch.count() > 0)?;
                    Some(bigint(sketch.quantile(quantile)))
                };
                Arc::new(sketches.iter().map(filled).collect::<Int64Array>())
            }
        }
    }
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.sketches.resize_with(total_num_groups, || None);
        let values = sketch_column(self.function, values)?;
        for (row, &group) in group_indices.iter().enumerate() {
            let passes = opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            if passes && values.is_valid(row) {
                self.merge(group, values.value(row))?;
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.update_batch(values, group_indices, None, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sketches = self.take(emit_to);
        Ok(self.answers(&sketches))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let sketches = self.take(emit_to);
        Ok(vec![Arc::new(serialized(&sketches))])
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = sketch_column(self.function, values)?;
        let passes = |row: usize| opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        let kept = values.iter().enumerate().map(|(row, value)| value.filter(|_| passes(row)));
        Ok(vec![Arc::new(kept.collect::<BinaryArray>())])
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.sketches.capacity() * size_of::<Option<Box<Sketch>>>() + self.held * SKETCH_BYTES
    }
}

/// Without GROUP BY there is one group, number 0. A window asks for it again and again while it grows.
#[derive(Debug)]
pub(super) struct OneGroup(Groups);

impl OneGroup {
    pub(super) fn new(mut groups: Groups) -> Self {
        groups.sketches.resize_with(1, || None);
        Self(groups)
    }
}

impl Accumulator for OneGroup {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = values.first().map_or(0, |column| column.len());
        self.0.update_batch(values, &vec![0; rows], None, 1)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        Accumulator::update_batch(self, states)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&self.0.answers(&self.0.sketches), 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::try_from_array(&serialized(&self.0.sketches), 0)?])
    }

    fn size(&self) -> usize {
        GroupsAccumulator::size(&self.0)
    }
}

fn sketch_column<'a>(function: &str, values: &'a [ArrayRef]) -> Result<&'a BinaryArray> {
    let column = values.first().and_then(|column| column.as_binary_opt::<i32>());
    column.ok_or_else(|| exec_datafusion_err!("{function}: expected a column of type {}", DataType::Binary))
}

fn serialized(sketches: &[Option<Box<Sketch>>]) -> BinaryArray {
    let mut column = BinaryBuilder::new();
    for sketch in sketches {
        column.append_option(sketch.as_ref().map(|sketch| sketch.to_bytes()));
    }
    column.finish()
}
