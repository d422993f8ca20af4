//! Arithmetic that fails where DataFusion 55 wraps: sums of whole numbers and spans, `+`, `-` and `*` of whole numbers, and
//! widening that must lose nothing.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use datafusion::arrow::compute::kernels::{cmp, numeric};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{
    DECIMAL32_MAX_PRECISION, DECIMAL64_MAX_PRECISION, DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType,
    Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Field, FieldRef, Float16Type, Float32Type,
    Float64Type,
};
use datafusion::arrow::error::ArrowError;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue, exec_err, plan_err};
use datafusion::functions_aggregate::{average, sum};
use datafusion::logical_expr::expr::BinaryExpr;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, EmitTo, Expr, ExprSchemable, GroupsAccumulator,
    Operator, ReversedUDAF, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr_common::datum::apply;

const CHECKED: CastOptions<'static> =
    CastOptions { safe: false, format_options: datafusion::arrow::util::display::FormatOptions::new() };

/// Puts arithmetic that fails on an overflow in the place of the one that wraps.
#[derive(Debug)]
pub struct Checked;

impl FunctionRewrite for Checked {
    fn name(&self) -> &str {
        "checked_arithmetic"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        let whole = |expr: &Expr| expr.get_type(schema).is_ok_and(|kind| kind.is_integer());
        Ok(match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right })
                if matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply)
                    && whole(&left)
                    && whole(&right) =>
            {
                Transformed::yes(arithmetic(op).call(vec![*left, *right]))
            }
            expr @ Expr::BinaryExpr(_) if expr.get_type(schema).is_ok_and(|kind| is_widest(&kind)) => {
                let signature = Signature::any(1, Volatility::Immutable);
                Transformed::yes(ScalarUDF::from(Within { signature }).call(vec![expr]))
            }
            Expr::Negative(of) if whole(&of) => {
                let zero = ScalarValue::new_zero(&of.get_type(schema)?)?;
                Transformed::yes(arithmetic(Operator::Minus).call(vec![Expr::Literal(zero, None), *of]))
            }
            other => Transformed::no(other),
        })
    }
}

/// Whether a decimal has as many digits as its type can have: a result may have more, and is then shown without its last ones.
fn is_widest(kind: &DataType) -> bool {
    match kind {
        DataType::Decimal32(precision, _) => *precision == DECIMAL32_MAX_PRECISION,
        DataType::Decimal64(precision, _) => *precision == DECIMAL64_MAX_PRECISION,
        DataType::Decimal128(precision, _) => *precision == DECIMAL128_MAX_PRECISION,
        DataType::Decimal256(precision, _) => *precision == DECIMAL256_MAX_PRECISION,
        _ => false,
    }
}

/// Decimals that must have no more digits than their type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Within {
    signature: Signature,
}

impl ScalarUDFImpl for Within {
    fn name(&self) -> &str {
        "within_precision"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let value = args.args.into_iter().next().ok_or_else(|| DataFusionError::Internal("no argument".into()))?;
        let array = value.to_array(args.number_rows)?;
        within_precision(&array)?;
        Ok(value)
    }
}

/// An error for a decimal that has more digits than its type.
pub fn within_precision(array: &ArrayRef) -> Result<(), ArrowError> {
    match array.data_type() {
        DataType::Decimal32(p, _) => array.as_primitive::<Decimal32Type>().validate_decimal_precision(*p),
        DataType::Decimal64(p, _) => array.as_primitive::<Decimal64Type>().validate_decimal_precision(*p),
        DataType::Decimal128(p, _) => array.as_primitive::<Decimal128Type>().validate_decimal_precision(*p),
        DataType::Decimal256(p, _) => array.as_primitive::<Decimal256Type>().validate_decimal_precision(*p),
        _ => Ok(()),
    }
}

fn arithmetic(op: Operator) -> ScalarUDF {
    ScalarUDF::from(Arithmetic { op, signature: Signature::any(2, Volatility::Immutable) })
}

/// `+`, `-` or `*` of two whole numbers of one type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Arithmetic {
    op: Operator,
    signature: Signature,
}

impl ScalarUDFImpl for Arithmetic {
    fn name(&self) -> &str {
        match self.op {
            Operator::Plus => "checked_add",
            Operator::Minus => "checked_subtract",
            _ => "checked_multiply",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = &args.args[..] else { return exec_err!("{} takes two numbers", self.name()) };
        match self.op {
            Operator::Plus => apply(left, right, numeric::add),
            Operator::Minus => apply(left, right, numeric::sub),
            _ => apply(left, right, numeric::mul),
        }
    }
}

/// A column of a file in the wider type that its table has. It fails where that has no equal for a value.
pub fn widened(column: Expr, name: &str, file: &str, from: &DataType, to: &DataType) -> Expr {
    let what = format!("the column {name:?} of {file} is {from}, and {to} in another file of its table");
    let signature = Signature::any(1, Volatility::Immutable);
    ScalarUDF::from(Widened { what, to: to.clone(), signature }).call(vec![column])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Widened {
    what: String,
    to: DataType,
    signature: Signature,
}

impl ScalarUDFImpl for Widened {
    fn name(&self) -> &str {
        "widened"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let values = ColumnarValue::values_to_arrays(&args.args)?.remove(0);
        let lost =
            || DataFusionError::Execution(format!("{}, but has a value that this type has no equal of", self.what));
        let wider = cast_with_options(&values, &self.to, &CHECKED).map_err(|_| lost())?;
        // A float that equals no whole number near it is another after the way back, or none at all.
        let back = cast_with_options(&wider, values.data_type(), &CHECKED).map_err(|_| lost())?;
        if !same(&values, &back) {
            return Err(lost());
        }
        Ok(ColumnarValue::Array(wider))
    }
}

fn same(a: &ArrayRef, b: &ArrayRef) -> bool {
    match a.data_type().is_nested() {
        true => a == b,
        false => cmp::not_distinct(a, b).is_ok_and(|same: BooleanArray| same.false_count() == 0),
    }
}

/// A column of floats for a file of JSON, which has no NaN and no infinity.
pub fn finite(column: Expr, name: &str) -> Expr {
    let signature = Signature::any(1, Volatility::Immutable);
    ScalarUDF::from(Finite { name: name.to_string(), signature }).call(vec![column])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Finite {
    name: String,
    signature: Signature,
}

impl ScalarUDFImpl for Finite {
    fn name(&self) -> &str {
        "finite"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let values = ColumnarValue::values_to_arrays(&args.args)?.remove(0);
        match all_finite(&values) {
            true => Ok(ColumnarValue::Array(values)),
            false => {
                exec_err!("the column {:?} has NaN or infinity, which JSON does not have: cast it to text", self.name)
            }
        }
    }
}

fn all_finite(values: &ArrayRef) -> bool {
    match values.data_type() {
        DataType::Float16 => values.as_primitive::<Float16Type>().iter().flatten().all(|x| x.is_finite()),
        DataType::Float32 => values.as_primitive::<Float32Type>().iter().flatten().all(f32::is_finite),
        DataType::Float64 => values.as_primitive::<Float64Type>().iter().flatten().all(f64::is_finite),
        DataType::List(_) => values.as_list::<i32>().iter().flatten().all(|item| all_finite(&item)),
        DataType::LargeList(_) => values.as_list::<i64>().iter().flatten().all(|item| all_finite(&item)),
        DataType::FixedSizeList(..) => values.as_fixed_size_list().iter().flatten().all(|item| all_finite(&item)),
        DataType::Struct(_) => values.as_struct().columns().iter().all(all_finite),
        DataType::Map(..) => values.as_map().entries().columns().iter().all(all_finite),
        DataType::Dictionary(..) => all_finite(values.as_any_dictionary().values()),
        _ => true,
    }
}

/// Sums and averages by wider numbers than DataFusion's own, which are narrowed at the end.
pub fn aggregates() -> [AggregateUDF; 2] {
    [sum::sum_udaf(), average::avg_udaf()].map(|own| AggregateUDF::from(Wide { own }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Wide {
    own: Arc<AggregateUDF>,
}

/// What is added up, and what comes of it.
#[derive(Clone)]
struct Widths {
    input: DataType,
    output: DataType,
}

impl Wide {
    /// The wider types for one that could wrap.
    fn widths(&self, argument: &DataType) -> Option<Widths> {
        let sum = |kind: DataType| Some(Widths { input: kind.clone(), output: kind });
        match (self.own.name(), argument) {
            ("sum", DataType::Int64 | DataType::UInt64 | DataType::Duration(_)) => {
                sum(DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0))
            }
            ("sum", DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale)) => {
                sum(DataType::Decimal128(DECIMAL128_MAX_PRECISION, *scale))
            }
            ("sum", DataType::Decimal128(precision, scale)) if *precision > DECIMAL128_MAX_PRECISION - 10 => {
                sum(DataType::Decimal256(DECIMAL256_MAX_PRECISION, *scale))
            }
            ("avg", DataType::Duration(_)) => {
                Some(Widths { input: DataType::Decimal128(28, 0), output: DataType::Decimal128(32, 4) })
            }
            _ => None,
        }
    }

    /// Calls with the arguments that the wider types make.
    fn with<T>(
        &self,
        args: AccumulatorArgs<'_>,
        make: impl FnOnce(AccumulatorArgs<'_>) -> Result<T>,
    ) -> Result<(T, Option<(Widths, DataType)>)> {
        let Some(widths) = args.expr_fields.first().and_then(|field| self.widths(field.data_type())) else {
            return Ok((make(args)?, None));
        };
        let field = |kind: &DataType| -> FieldRef { Arc::new(Field::new("wide", kind.clone(), true)) };
        let (expr_fields, narrow) = ([field(&widths.input)], args.return_type().clone());
        let made = make(AccumulatorArgs { return_field: field(&widths.output), expr_fields: &expr_fields, ..args })?;
        Ok((made, Some((widths, narrow))))
    }
}

impl AggregateUDFImpl for Wide {
    fn name(&self) -> &str {
        self.own.name()
    }

    fn aliases(&self) -> &[String] {
        self.own.aliases()
    }

    fn signature(&self) -> &Signature {
        self.own.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match (self.own.name(), arguments.first()) {
            ("sum", Some(kind @ DataType::Interval(_))) => plan_err!(
                "the sum of {kind} is not to be had, since it could wrap: cast it to a duration with arrow_cast(…, 'Duration(Nanosecond)')"
            ),
            ("sum", Some(kind @ DataType::Decimal256(precision, scale)))
                if *precision > DECIMAL256_MAX_PRECISION - 10 =>
            {
                plan_err!("the sum of {kind} is not to be had, since it could wrap: cast it to Decimal256(66, {scale})")
            }
            _ => self.own.return_type(arguments),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let (own, wide) = self.with(args, |args| self.own.accumulator(args))?;
        Ok(match wide {
            Some((widths, narrow)) => Box::new(WideSum { own, widths, narrow }),
            None => own,
        })
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let (own, wide) = self.with(args, |args| self.own.create_sliding_accumulator(args))?;
        Ok(match wide {
            Some((widths, narrow)) => Box::new(WideSum { own, widths, narrow }),
            None => own,
        })
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let Some(widths) = args.input_fields.first().and_then(|field| self.widths(field.data_type())) else {
            return self.own.state_fields(args);
        };
        let field = |kind: &DataType| -> FieldRef { Arc::new(Field::new("wide", kind.clone(), true)) };
        let input_fields = [field(&widths.input)];
        self.own.state_fields(StateFieldsArgs {
            input_fields: &input_fields,
            return_field: field(&widths.output),
            ..args
        })
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.with(args, |args| Ok(self.own.groups_accumulator_supported(args))).is_ok_and(|(supported, _)| supported)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        let (own, wide) = self.with(args, |args| self.own.create_groups_accumulator(args))?;
        Ok(match wide {
            Some((widths, narrow)) => Box::new(WideSums { own, widths, narrow }),
            None => own,
        })
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> datafusion::logical_expr::utils::AggregateOrderSensitivity {
        self.own.order_sensitivity()
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.own.coerce_types(arguments)
    }
}

/// A span is added up as a whole number.
fn wider(values: &[ArrayRef], widths: &Widths) -> Result<Vec<ArrayRef>> {
    let cast = |values: &ArrayRef| {
        let numbers = match values.data_type() {
            DataType::Duration(_) => cast_with_options(values, &DataType::Int64, &CHECKED)?,
            _ => values.clone(),
        };
        Ok(cast_with_options(&numbers, &widths.input, &CHECKED)?)
    };
    values.iter().map(cast).collect()
}

fn narrower(wide: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let fit = |e: ArrowError| {
        DataFusionError::Execution(format!(
            "a sum is too large for {to}: cast its argument to DECIMAL(38, 0), or to a wider type: {e}"
        ))
    };
    let numbers = match to {
        DataType::Duration(_) => cast_with_options(wide, &DataType::Int64, &CHECKED).map_err(fit)?,
        _ => wide.clone(),
    };
    cast_with_options(&numbers, to, &CHECKED).map_err(fit)
}

#[derive(Debug)]
struct WideSum {
    own: Box<dyn Accumulator>,
    widths: Widths,
    narrow: DataType,
}

impl std::fmt::Debug for Widths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} to {}", self.input, self.output)
    }
}

impl Accumulator for WideSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.own.update_batch(&wider(values, &self.widths)?)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.own.retract_batch(&wider(values, &self.widths)?)
    }

    fn supports_retract_batch(&self) -> bool {
        self.own.supports_retract_batch()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&narrower(&self.own.evaluate()?.to_array()?, &self.narrow)?, 0)
    }

    fn size(&self) -> usize {
        self.own.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.own.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.own.merge_batch(states)
    }
}

struct WideSums {
    own: Box<dyn GroupsAccumulator>,
    widths: Widths,
    narrow: DataType,
}

impl GroupsAccumulator for WideSums {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.own.update_batch(&wider(values, &self.widths)?, groups, filter, total)
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        narrower(&self.own.evaluate(emit)?, &self.narrow)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        self.own.state(emit)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.own.merge_batch(values, groups, total)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.own.convert_to_state(&wider(values, &self.widths)?, filter)
    }

    fn size(&self) -> usize {
        self.own.size()
    }
}
