package literal

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"google.golang.org/protobuf/types/known/structpb"
)

// CheckTemplate refuses a template's custom part that has a whole number of 2^53 or more, and says where. All numbers of a
// template are floats, so whoever made it may have written another one, such as 2^53+1.
func CheckTemplate(custom *structpb.Struct) error {
	fields := custom.GetFields()
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if err := checkTemplate(fields[name], name); err != nil {
			return err
		}
	}
	return nil
}

func checkTemplate(value *structpb.Value, path string) error {
	switch v := value.GetKind().(type) {
	case *structpb.Value_NumberValue:
		const exact = 1 << 53
		if number := v.NumberValue; math.Abs(number) >= exact && !math.IsInf(number, 0) {
			return fmt.Errorf("%s is %.0f: a template keeps whole numbers below 2^53 and rounds larger ones", path, number)
		}
	case *structpb.Value_StructValue:
		fields := v.StructValue.GetFields()
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			if err := checkTemplate(fields[name], key(path, name)); err != nil {
				return err
			}
		}
	case *structpb.Value_ListValue:
		for i, element := range v.ListValue.GetValues() {
			if err := checkTemplate(element, index(path, i)); err != nil {
				return err
			}
		}
	}
	return nil
}
