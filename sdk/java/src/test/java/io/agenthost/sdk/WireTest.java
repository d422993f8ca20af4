package io.agenthost.sdk;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.google.protobuf.Struct;
import java.math.BigInteger;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class WireTest {
    @Test
    void theCustomInfoKeepsEveryDigit() throws Exception {
        Struct info = Wire.structOf(Map.of("rows", 3, "id", (1L << 53) + 1, "all", List.of(BigInteger.TEN.pow(30), 0.5)));
        assertEquals(3, info.getFieldsOrThrow("rows").getNumberValue());
        assertEquals("9007199254740993", info.getFieldsOrThrow("id").getStringValue());
        assertEquals("1" + "0".repeat(30), info.getFieldsOrThrow("all").getListValue().getValues(0).getStringValue());
        assertEquals(0.5, info.getFieldsOrThrow("all").getListValue().getValues(1).getNumberValue());
    }
}
