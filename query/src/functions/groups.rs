//! The state of a sketch aggregate: one histogram for each group that has seen more than one sketch.
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

use super::{bigint, damaged, read_sketch};

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

/// What a group has seen.
#[derive(Debug)]
enum Seen {
    /// One sketch, as it came: a histogram would be fifty times as large, and is read when it is needed.
    One(Box<[u8]>),
    /// Several sketches.
    Several(Box<Sketch>),
}

impl Seen {
    fn heap_bytes(&self) -> usize {
        match self {
            Self::One(bytes) => bytes.len(),
            Self::Several(_) => SKETCH_BYTES,
        }
    }
}

/// What each group has seen; nothing before its first sketch.
#[derive(Debug)]
pub(super) struct Groups {
    function: &'static str,
    answer: Answer,
    groups: Vec<Option<Seen>>,
    heap_bytes: usize,
}

impl Groups {
    pub(super) fn new(function: &'static str, answer: Answer) -> Self {
        Self { function, answer, groups: Vec::new(), heap_bytes: 0 }
    }

    fn merge(&mut self, group: usize, bytes: &[u8]) -> Result<()> {
        let group = &mut self.groups[group];
        self.heap_bytes -= group.as_ref().map_or(0, Seen::heap_bytes);
        let seen = match group.take() {
            None => Seen::One(bytes.into()),
            Some(Seen::One(first)) => {
                let mut sketch = Box::new(read_sketch(self.function, &first)?);
                sketch.merge_bytes(bytes).map_err(|error| damaged(self.function, error))?;
                Seen::Several(sketch)
            }
            Some(Seen::Several(mut sketch)) => {
                sketch.merge_bytes(bytes).map_err(|error| damaged(self.function, error))?;
                Seen::Several(sketch)
            }
        };
        self.heap_bytes += seen.heap_bytes();
        *group = Some(seen);
        Ok(())
    }

    fn take(&mut self, emit_to: EmitTo) -> Vec<Option<Seen>> {
        let taken = emit_to.take_needed(&mut self.groups);
        self.heap_bytes -= taken.iter().flatten().map(Seen::heap_bytes).sum::<usize>();
        taken
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
        self.groups.resize_with(total_num_groups, || None);
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
        let groups = self.take(emit_to);
        answers(self.function, self.answer, &groups)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![Arc::new(states(&self.take(emit_to)))])
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = sketch_column(self.function, values)?;
        let passes = |row: usize| opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        let kept = values.iter().enumerate().map(|(row, value)| value.filter(|_| passes(row)));
        Ok(vec![Arc::new(kept.collect::<BinaryArray>())])
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.groups.capacity() * size_of::<Option<Seen>>() + self.heap_bytes
    }
}

/// Without GROUP BY there is one group, number 0. A window asks for it again and again while it grows.
#[derive(Debug)]
pub(super) struct OneGroup(Groups);

impl OneGroup {
    pub(super) fn new(mut groups: Groups) -> Self {
        groups.groups.resize_with(1, || None);
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
        ScalarValue::try_from_array(&answers(self.0.function, self.0.answer, &self.0.groups)?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::try_from_array(&states(&self.0.groups), 0)?])
    }

    fn size(&self) -> usize {
        GroupsAccumulator::size(&self.0)
    }
}

fn sketch_column<'a>(function: &str, values: &'a [ArrayRef]) -> Result<&'a BinaryArray> {
    let column = values.first().and_then(|column| column.as_binary_opt::<i32>());
    column.ok_or_else(|| exec_datafusion_err!("{function}: expected a column of type {}", DataType::Binary))
}

/// What goes from one stage of an aggregation to the next: sketches, merged as far as they are.
fn states(groups: &[Option<Seen>]) -> BinaryArray {
    let mut column = BinaryBuilder::new();
    for group in groups {
        match group {
            None => column.append_null(),
            Some(Seen::One(bytes)) => column.append_value(bytes),
            Some(Seen::Several(sketch)) => column.append_value(sketch.to_bytes()),
        }
    }
    column.finish()
}

/// The answers of the groups. What nobody has read so far is read here, so that no damaged sketch leaves.
fn answers(function: &str, answer: Answer, groups: &[Option<Seen>]) -> Result<ArrayRef> {
    let ask = |sketch: &Sketch, quantile| (sketch.count() > 0).then(|| bigint(sketch.quantile(quantile)));
    match answer {
        Answer::Sketch => {
            for group in groups {
                if let Some(Seen::One(bytes)) = group {
                    read_sketch(function, bytes)?;
                }
            }
            Ok(Arc::new(states(groups)))
        }
        Answer::Quantile(quantile) => {
            let values = groups.iter().map(|group| match group {
                None => Ok(None),
                Some(Seen::One(bytes)) => Ok(ask(&read_sketch(function, bytes)?, quantile)),
                Some(Seen::Several(sketch)) => Ok(ask(sketch, quantile)),
            });
            Ok(Arc::new(values.collect::<Result<Int64Array>>()?))
        }
    }
}
