//! The scalar functions over one sketch: `sketch_count`, `sketch_min`, `sketch_max`, `sketch_mean`, `sketch_quantile`.

use std::{
    hash::Hash,
    sync::{Arc, LazyLock},
};

use arrow::{
    array::{ArrayRef, AsArray, BinaryArray, Float64Array, Int64Array},
    datatypes::{DataType, Float64Type},
};
use datafusion::{
    common::{Result, exec_datafusion_err, exec_err, plan_err},
    logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility},
};
use weir_lake::Sketch;

use super::{bigint, coerce_sketch, read_sketch};

static SIGNATURE: LazyLock<Signature> = LazyLock::new(|| Signature::user_defined(Volatility::Immutable));

/// A function of one sketch and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum SketchFunction {
    Count,
    Min,
    Max,
    Mean,
}

impl SketchFunction {
    pub(super) const ALL: &[Self] = &[Self::Count, Self::Min, Self::Max, Self::Mean];

    const fn sql_name(self) -> &'static str {
        match self {
            Self::Count => "sketch_count",
            Self::Min => "sketch_min",
            Self::Max => "sketch_max",
            Self::Mean => "sketch_mean",
        }
    }
}

impl ScalarUDFImpl for SketchFunction {
    fn name(&self) -> &str {
        self.sql_name()
    }

    fn signature(&self) -> &Signature {
        &SIGNATURE
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [sketch] = arg_types else {
            return plan_err!("{} takes one argument, a sketch; {} were given", self.sql_name(), arg_types.len());
        };
        Ok(vec![coerce_sketch(self.sql_name(), sketch)?])
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(if *self == Self::Mean { DataType::Float64 } else { DataType::Int64 })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let sketches = sketch_argument(self.sql_name(), &arrays)?;
        let answer: ArrayRef = match self {
            Self::Count => Arc::new(each(self.sql_name(), sketches, |sketch| Some(bigint(sketch.count())))?),
            Self::Min => Arc::new(each(self.sql_name(), sketches, |sketch| filled(sketch).map(|s| bigint(s.min())))?),
            Self::Max => Arc::new(each(self.sql_name(), sketches, |sketch| filled(sketch).map(|s| bigint(s.max())))?),
            Self::Mean => {
                let means = sketches.iter().map(|bytes| match bytes {
                    Some(bytes) => Ok(filled(&read_sketch(self.sql_name(), bytes)?).map(Sketch::mean)),
                    None => Ok(None),
                });
                Arc::new(means.collect::<Result<Float64Array>>()?)
            }
        };
        Ok(ColumnarValue::Array(answer))
    }
}

/// `sketch_quantile(sketch, q)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SketchQuantile;

const QUANTILE: &str = "sketch_quantile";

impl ScalarUDFImpl for SketchQuantile {
    fn name(&self) -> &str {
        QUANTILE
    }

    fn signature(&self) -> &Signature {
        &SIGNATURE
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [sketch, quantile] = arg_types else {
            return plan_err!(
                "{QUANTILE} takes two arguments, a sketch and a number from 0 to 1: {QUANTILE}(latency, 0.99)"
            );
        };
        if !(quantile.is_numeric() || quantile.is_null()) {
            return plan_err!("{QUANTILE}: the quantile is a number from 0 to 1; this argument is of type {quantile}");
        }
        Ok(vec![coerce_sketch(QUANTILE, sketch)?, DataType::Float64])
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let sketches = sketch_argument(QUANTILE, &arrays)?;
        let quantiles = arrays.get(1).and_then(|column| column.as_primitive_opt::<Float64Type>());
        let quantiles =
            quantiles.ok_or_else(|| exec_datafusion_err!("{QUANTILE}: the quantile is a number from 0 to 1"))?;
        let answers = sketches.iter().zip(quantiles).map(|pair| {
            let (Some(bytes), Some(quantile)) = pair else { return Ok(None) };
            if !(0.0..=1.0).contains(&quantile) {
                return exec_err!("{QUANTILE}: the quantile must be from 0 to 1, and is {quantile}");
            }
            Ok(filled(&read_sketch(QUANTILE, bytes)?).map(|sketch| bigint(sketch.quantile(quantile))))
        });
        Ok(ColumnarValue::Array(Arc::new(answers.collect::<Result<Int64Array>>()?)))
    }
}

fn sketch_argument<'a>(function: &str, arrays: &'a [ArrayRef]) -> Result<&'a BinaryArray> {
    let column = arrays.first().and_then(|column| column.as_binary_opt::<i32>());
    column.ok_or_else(|| exec_datafusion_err!("{function}: expected an argument of type {}", DataType::Binary))
}

fn each(function: &str, sketches: &BinaryArray, ask: impl Fn(&Sketch) -> Option<i64>) -> Result<Int64Array> {
    let answers = sketches.iter().map(|bytes| match bytes {
        Some(bytes) => Ok(ask(&read_sketch(function, bytes)?)),
        None => Ok(None),
    });
    answers.collect()
}

/// The sketch, if it has values to speak of.
fn filled(sketch: &Sketch) -> Option<&Sketch> {
    (sketch.count() > 0).then_some(sketch)
}
