//! The aggregates `sketch_merge`, `sketch_of`, `p50`, `p90`, `p99` and `p999`, as DataFusion sees them.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::{
    common::{Result, ScalarValue, plan_err},
    logical_expr::{
        Accumulator, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility,
        function::{AccumulatorArgs, StateFieldsArgs},
        utils::{AggregateOrderSensitivity, format_state_name},
    },
};

use super::{
    coerce_sketch, coerce_value,
    groups::{Answer, Groups, Input, OneGroup},
};

/// An aggregate over a column of sketches, or of values. Its name tells it from the others.
#[derive(Clone, Debug)]
pub(super) struct SketchAggregate {
    name: &'static str,
    input: Input,
    answer: Answer,
    signature: Signature,
}

impl SketchAggregate {
    /// `sketch_merge`.
    pub(super) fn merge() -> Self {
        Self::new("sketch_merge", Input::Sketches, Answer::Sketch)
    }

    /// `sketch_of`.
    pub(super) fn of() -> Self {
        Self::new("sketch_of", Input::Values, Answer::Sketch)
    }

    /// A quantile under a name of its own.
    pub(super) fn quantile(name: &'static str, quantile: f64) -> Self {
        Self::new(name, Input::Sketches, Answer::Quantile(quantile))
    }

    fn new(name: &'static str, input: Input, answer: Answer) -> Self {
        Self { name, input, answer, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn groups(&self) -> Groups {
        Groups::new(self.name, self.input, self.answer)
    }
}

impl PartialEq for SketchAggregate {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for SketchAggregate {}

impl Hash for SketchAggregate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl AggregateUDFImpl for SketchAggregate {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let wanted = match self.input {
            Input::Sketches => "a sketch",
            Input::Values => "whole numbers",
        };
        let [given] = arg_types else {
            return plan_err!("{} takes one argument, {wanted}; {} were given", self.name, arg_types.len());
        };
        Ok(vec![match self.input {
            Input::Sketches => coerce_sketch(self.name, given)?,
            Input::Values => coerce_value(self.name, given)?,
        }])
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(match self.answer {
            Answer::Sketch => DataType::Binary,
            Answer::Quantile(_) => DataType::Int64,
        })
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "sketch"), DataType::Binary, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        refuse_distinct(self.name, &args)?;
        Ok(Box::new(OneGroup::new(self.groups())))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        refuse_distinct(self.name, &args)?;
        Ok(Box::new(self.groups()))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn default_value(&self, _data_type: &DataType) -> Result<ScalarValue> {
        ScalarValue::try_from(self.return_type(&[])?)
    }
}

/// DataFusion replaces the DISTINCT of a statement's only aggregate by a GROUP BY; any other is not applied by anyone.
fn refuse_distinct(name: &str, args: &AccumulatorArgs<'_>) -> Result<()> {
    if args.is_distinct { plan_err!("{name} does not take DISTINCT beside other aggregates") } else { Ok(()) }
}
