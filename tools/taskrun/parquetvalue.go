package taskrun

import (
	"math/big"
	"time"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// parquetValue makes what the reader gives for a column readable: dates and times are stored as numbers, texts as bytes.
// Columns that nest others are shown as they are.
func parquetValue(value any, column parquet.Node) any {
	if bytes, ok := value.([]byte); ok && utf8.Valid(bytes) {
		return string(bytes)
	}
	if !column.Leaf() || column.Type().LogicalType() == nil {
		return value
	}
	switch kind := column.Type().LogicalType().Value.(type) {
	case *format.DateType:
		if days, ok := value.(int32); ok {
			return time.Unix(0, 0).UTC().AddDate(0, 0, int(days)).Format(time.DateOnly)
		}
	case *format.TimestampType:
		if count, ok := value.(int64); ok && kind.Unit.Value != nil {
			unit := int64(kind.Unit.Value.Duration())
			perSecond := int64(time.Second) / unit
			return time.Unix(count/perSecond, count%perSecond*unit).UTC().Format(time.RFC3339Nano)
		}
	}
	return value
}

// decimalOf gives the decimal type of a column, nil if it is none.
func decimalOf(column parquet.Node) *format.DecimalType {
	if !column.Leaf() || column.Repeated() || column.Type().LogicalType() == nil {
		return nil
	}
	kind, _ := column.Type().LogicalType().Value.(*format.DecimalType)
	return kind
}

// exactDecimal writes a decimal from what the file holds: the reader would make an inexact float of it.
func exactDecimal(stored parquet.Value, kind *format.DecimalType) any {
	if stored.IsNull() {
		return nil
	}
	switch stored.Kind() {
	case parquet.Int32:
		return decimal(big.NewInt(int64(stored.Int32())), kind.Scale)
	case parquet.Int64:
		return decimal(big.NewInt(stored.Int64()), kind.Scale)
	default:
		return decimal(twosComplement(stored.ByteArray()), kind.Scale)
	}
}

func decimal(unscaled *big.Int, scale int32) string {
	denominator := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)
	return new(big.Rat).SetFrac(unscaled, denominator).FloatString(int(scale))
}

// twosComplement reads a signed big-endian number.
func twosComplement(bytes []byte) *big.Int {
	n := new(big.Int).SetBytes(bytes)
	if len(bytes) > 0 && bytes[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(len(bytes)*8)))
	}
	return n
}
