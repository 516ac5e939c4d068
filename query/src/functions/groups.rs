//! The state of a sketch aggregate: one histogram for each group that has seen more than one sketch, or many values.
//!
//! One type serves statements with and without GROUP BY. Its size is reported to the memory pool, which bounds the number
//! of groups: past the limit DataFusion spills the states, and they come back through `merge_batch`.

use std::{mem::size_of, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray, Int64Array},
    datatypes::{DataType, Int64Type},
};
use datafusion::{
    common::{Result, ScalarValue, exec_datafusion_err},
    logical_expr::{Accumulator, EmitTo, GroupsAccumulator},
};
use weir_lake::{HIGHEST_LATENCY_US, LOWEST_LATENCY_US, Sketch};

use super::{bigint, damaged, read_sketch};

/// What one histogram takes of the heap: 3328 counts of eight bytes at the bounds and the precision of
/// [`weir_lake::Sketch`], and its own fields.
const SKETCH_BYTES: usize = 27 * 1024;

/// Values of a group that are kept as they are: a histogram would take more.
const MOST_VALUES: usize = 1024;

/// What an aggregate is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Sketches.
    Sketches,
    /// Values, µs.
    Values,
}

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
    /// Several sketches, or many values.
    Several(Box<Sketch>),
    /// Some values, within the bounds of a sketch.
    Values(Vec<u32>),
}

impl Seen {
    fn heap_bytes(&self) -> usize {
        match self {
            Self::One(bytes) => bytes.len(),
            Self::Several(_) => SKETCH_BYTES,
            Self::Values(values) => values.capacity() * size_of::<u32>(),
        }
    }

    fn into_sketch(self, function: &str) -> Result<Box<Sketch>> {
        match self {
            Self::One(bytes) => Ok(Box::new(read_sketch(function, &bytes)?)),
            Self::Several(sketch) => Ok(sketch),
            Self::Values(values) => Ok(Box::new(sketch_of(&values))),
        }
    }
}

fn sketch_of(values: &[u32]) -> Sketch {
    let mut sketch = Sketch::new();
    values.iter().for_each(|value| sketch.record(u64::from(*value)));
    sketch
}

/// A value as a sketch counts it: what is below its bounds, or above them, counts as the bound.
fn bounded(value: i64) -> u32 {
    let value = u64::try_from(value).unwrap_or(0).clamp(LOWEST_LATENCY_US, HIGHEST_LATENCY_US);
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// What each group has seen; nothing before its first sketch.
#[derive(Debug)]
pub(super) struct Groups {
    function: &'static str,
    input: Input,
    answer: Answer,
    groups: Vec<Option<Seen>>,
    heap_bytes: usize,
}

impl Groups {
    pub(super) fn new(function: &'static str, input: Input, answer: Answer) -> Self {
        Self { function, input, answer, groups: Vec::new(), heap_bytes: 0 }
    }

    fn merge(&mut self, group: usize, bytes: &[u8]) -> Result<()> {
        let function = self.function;
        self.change(group, |seen| match seen {
            None => Ok(Seen::One(bytes.into())),
            Some(seen) => {
                let mut sketch = seen.into_sketch(function)?;
                sketch.merge_bytes(bytes).map_err(|error| damaged(function, error))?;
                Ok(Seen::Several(sketch))
            }
        })
    }

    fn record(&mut self, group: usize, value: i64) -> Result<()> {
        let (function, value) = (self.function, bounded(value));
        self.change(group, |seen| match seen {
            None => Ok(Seen::Values(vec![value])),
            Some(Seen::Values(mut values)) if values.len() < MOST_VALUES => {
                values.push(value);
                Ok(Seen::Values(values))
            }
            Some(seen) => {
                let mut sketch = seen.into_sketch(function)?;
                sketch.record(u64::from(value));
                Ok(Seen::Several(sketch))
            }
        })
    }

    fn change(&mut self, group: usize, change: impl FnOnce(Option<Seen>) -> Result<Seen>) -> Result<()> {
        let group = &mut self.groups[group];
        self.heap_bytes -= group.as_ref().map_or(0, Seen::heap_bytes);
        let seen = change(group.take())?;
        self.heap_bytes += seen.heap_bytes();
        *group = Some(seen);
        Ok(())
    }

    fn merge_rows(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.groups.resize_with(total_num_groups, || None);
        let values = sketch_column(self.function, values)?;
        for (row, &group) in group_indices.iter().enumerate() {
            if passes(opt_filter, row) && values.is_valid(row) {
                self.merge(group, values.value(row))?;
            }
        }
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
        if self.input == Input::Sketches {
            return self.merge_rows(values, group_indices, opt_filter, total_num_groups);
        }
        self.groups.resize_with(total_num_groups, || None);
        let values = value_column(self.function, values)?;
        for (row, &group) in group_indices.iter().enumerate() {
            if passes(opt_filter, row) && values.is_valid(row) {
                self.record(group, values.value(row))?;
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.merge_rows(values, group_indices, None, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let groups = self.take(emit_to);
        answers(self.function, self.answer, &groups)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![Arc::new(states(&self.take(emit_to)))])
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        if self.input == Input::Values {
            let values = value_column(self.function, values)?;
            let kept = values.iter().enumerate().map(|(row, value)| value.filter(|_| passes(opt_filter, row)));
            let states = kept.map(|value| value.map(|value| sketch_of(&[bounded(value)]).to_bytes()));
            return Ok(vec![Arc::new(states.collect::<BinaryArray>())]);
        }
        let values = sketch_column(self.function, values)?;
        let kept = values.iter().enumerate().map(|(row, value)| value.filter(|_| passes(opt_filter, row)));
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
        let rows = states.first().map_or(0, |column| column.len());
        self.0.merge_rows(states, &vec![0; rows], None, 1)
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

fn value_column<'a>(function: &str, values: &'a [ArrayRef]) -> Result<&'a Int64Array> {
    let column = values.first().and_then(|column| column.as_primitive_opt::<Int64Type>());
    column.ok_or_else(|| exec_datafusion_err!("{function}: expected a column of type {}", DataType::Int64))
}

fn passes(filter: Option<&BooleanArray>, row: usize) -> bool {
    filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
}

/// What goes from one stage of an aggregation to the next: sketches, merged as far as they are.
fn states(groups: &[Option<Seen>]) -> BinaryArray {
    let mut column = BinaryBuilder::new();
    for group in groups {
        match group {
            None => column.append_null(),
            Some(Seen::One(bytes)) => column.append_value(bytes),
            Some(Seen::Several(sketch)) => column.append_value(sketch.to_bytes()),
            Some(Seen::Values(values)) => column.append_value(sketch_of(values).to_bytes()),
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
                Some(Seen::Values(values)) => Ok(ask(&sketch_of(values), quantile)),
            });
            Ok(Arc::new(values.collect::<Result<Int64Array>>()?))
        }
    }
}
