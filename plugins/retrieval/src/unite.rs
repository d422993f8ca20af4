//! Files that differ as one table: columns by their names, each with a type that has an equal for every value.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, FieldRef, SchemaRef, TimeUnit};

use crate::fault::Fault;

/// The columns of all files, in the order in which they come. Each schema has the name of a file that it is the schema of.
pub fn unite(parts: &[(String, SchemaRef)]) -> Result<Vec<FieldRef>, Fault> {
    let mut all: Vec<FieldRef> = Vec::new();
    for (file, schema) in parts {
        for (i, field) in schema.fields().iter().enumerate() {
            if schema.fields()[..i].iter().any(|other| other.name() == field.name()) {
                return Err(Fault::failed(
                    "BadInput",
                    format!("{file} has the column {:?} twice: give one of them another name", field.name()),
                ));
            }
            let Some(known) = all.iter_mut().find(|known| known.name() == field.name()) else {
                all.push(Arc::new(Field::new(field.name(), field.data_type().clone(), true)));
                continue;
            };
            let wider = widen(known.data_type(), field.data_type()).ok_or_else(|| {
                Fault::failed(
                    "BadInput",
                    format!(
                        "{file} has the column {:?} as {}, but the files before it as {}, and neither type holds all values of the other: cast it where the file is written",
                        field.name(),
                        field.data_type(),
                        known.data_type()
                    ),
                )
            })?;
            *known = Arc::new(Field::new(field.name(), wider, true));
        }
    }
    Ok(all)
}

/// The type that has an equal value for each value of both. Whether a whole number of 64 bits equals a float, and whether an
/// instant is within the reach of a finer unit, is for the cast to check.
fn widen(a: &DataType, b: &DataType) -> Option<DataType> {
    if a == b {
        return Some(a.clone());
    }
    to(a, b).or_else(|| to(b, a))
}

fn to(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType::{
        Binary, BinaryView, Date32, Date64, Dictionary, FixedSizeList, Float16, Float32, Float64, LargeBinary,
        LargeList, LargeUtf8, List, Null, Timestamp, Utf8, Utf8View,
    };
    Some(match (a, b) {
        (Null, other) => other.clone(),
        (Dictionary(_, of), other) => widen(of, other)?,
        (Utf8 | Utf8View, LargeUtf8) => LargeUtf8,
        (Utf8, Utf8View) => Utf8,
        (Binary | BinaryView, LargeBinary) => LargeBinary,
        (Binary, BinaryView) => Binary,
        (whole, Utf8 | LargeUtf8 | Utf8View) if whole.is_integer() => b.clone(),
        (whole, Float16 | Float32 | Float64) if whole.is_integer() => Float64,
        (Float16, Float32) => Float32,
        (Float16 | Float32, Float64) => Float64,
        (Date32, Date64) => Date64,
        (Date32 | Date64, Timestamp(unit, None)) => Timestamp(finer(*unit, TimeUnit::Millisecond), None),
        (Timestamp(a, None), Timestamp(b, None)) => Timestamp(finer(*a, *b), None),
        (Timestamp(a, Some(zone)), Timestamp(b, Some(other))) => {
            let zone = if zone == other { zone.clone() } else { "UTC".into() };
            Timestamp(finer(*a, *b), Some(zone))
        }
        (List(a) | LargeList(a) | FixedSizeList(a, _), List(b) | LargeList(b) | FixedSizeList(b, _)) => {
            List(Arc::new(Field::new("item", widen(a.data_type(), b.data_type())?, true)))
        }
        (a, b) if a.is_integer() && b.is_integer() => integers(a, b)?,
        (a, b) => decimals(a, b)?,
    })
}

fn finer(a: TimeUnit, b: TimeUnit) -> TimeUnit {
    let digits = |unit| match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    };
    if digits(a) < digits(b) { b } else { a }
}

/// How many bits a whole number has, and whether it has a sign.
fn bits(kind: &DataType) -> Option<(usize, bool)> {
    kind.is_integer().then(|| (kind.primitive_width().unwrap_or(8) * 8, kind.is_signed_integer()))
}

fn integers(a: &DataType, b: &DataType) -> Option<DataType> {
    let ((a, a_signed), (b, b_signed)) = (bits(a)?, bits(b)?);
    let unsigned = if a_signed { b } else { a };
    let wide = if a_signed == b_signed { a.max(b) } else { a.max(b).max(2 * unsigned) };
    Some(match (wide, a_signed || b_signed) {
        (8, true) => DataType::Int8,
        (16, true) => DataType::Int16,
        (32, true) => DataType::Int32,
        (64, true) => DataType::Int64,
        (8, false) => DataType::UInt8,
        (16, false) => DataType::UInt16,
        (32, false) => DataType::UInt32,
        (64, false) => DataType::UInt64,
        _ => DataType::Decimal128(20, 0),
    })
}

fn decimals(a: &DataType, b: &DataType) -> Option<DataType> {
    let parts = |kind: &DataType| match *kind {
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => Some((i32::from(p) - i32::from(s), i32::from(s), true)),
        _ => bits(kind).map(|(bits, _)| {
            (
                match bits {
                    8 => 3,
                    16 => 5,
                    32 => 10,
                    _ => 20,
                },
                0,
                false,
            )
        }),
    };
    let ((a, a_scale, a_decimal), (b, b_scale, b_decimal)) = (parts(a)?, parts(b)?);
    let (scale, precision) = (a_scale.max(b_scale), a.max(b) + a_scale.max(b_scale));
    let fits = (a_decimal || b_decimal) && (1..=i32::from(DECIMAL128_MAX_PRECISION)).contains(&precision);
    fits.then_some(DataType::Decimal128(precision as u8, scale as i8))
}

/// Whether a cast from one type to a wider one can fail.
pub fn may_fail(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Int64 | DataType::UInt64, DataType::Float64) => true,
        (DataType::Date32 | DataType::Date64 | DataType::Timestamp(..), DataType::Timestamp(..)) => true,
        (DataType::List(a) | DataType::LargeList(a) | DataType::FixedSizeList(a, _), DataType::List(b)) => {
            may_fail(a.data_type(), b.data_type())
        }
        (DataType::Dictionary(_, of), to) => may_fail(of, to),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wider_type_holds_both() {
        use DataType::{
            Boolean, Date32, Decimal128, Float32, Float64, Int8, Int32, Int64, List, Null, Timestamp, UInt8, UInt64,
            Utf8,
        };
        let list = |of: DataType| List(Field::new("item", of, true).into());
        for (a, b, wanted) in [
            (Int32, Int64, Some(Int64)),
            (UInt8, Int8, Some(DataType::Int16)),
            (UInt64, Int8, Some(Decimal128(20, 0))),
            (Int64, Float64, Some(Float64)),
            (Float32, Float64, Some(Float64)),
            (Float32, Int8, Some(Float64)),
            (Int64, Decimal128(10, 2), Some(Decimal128(22, 2))),
            (Decimal128(38, 0), Decimal128(10, 5), None),
            (Decimal128(10, 5), Float64, None),
            (Int64, Utf8, Some(Utf8)),
            (Float64, Utf8, None),
            (Boolean, Int8, None),
            (Null, Boolean, Some(Boolean)),
            (Date32, Timestamp(TimeUnit::Nanosecond, None), Some(Timestamp(TimeUnit::Nanosecond, None))),
            (Date32, Timestamp(TimeUnit::Second, None), Some(Timestamp(TimeUnit::Millisecond, None))),
            (
                Timestamp(TimeUnit::Second, Some("UTC".into())),
                Timestamp(TimeUnit::Microsecond, Some("+02:00".into())),
                Some(Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
            ),
            (Timestamp(TimeUnit::Second, None), Timestamp(TimeUnit::Second, Some("UTC".into())), None),
            (list(Int32), list(Float64), Some(list(Float64))),
            (list(Null), list(Utf8), Some(list(Utf8))),
            (list(Int32), Int32, None),
            (DataType::Dictionary(Int8.into(), Utf8.into()), Utf8, Some(Utf8)),
        ] {
            assert_eq!(widen(&a, &b), wanted, "{a} and {b}");
            assert_eq!(widen(&b, &a), wanted, "{b} and {a}");
        }
    }
}
