package io.agenthost.sdk.literal;

import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.databind.DeserializationContext;
import com.fasterxml.jackson.databind.SerializerProvider;
import com.fasterxml.jackson.databind.annotation.JsonDeserialize;
import com.fasterxml.jackson.databind.annotation.JsonSerialize;
import com.fasterxml.jackson.databind.deser.std.StdDeserializer;
import com.fasterxml.jackson.databind.ser.std.StdSerializer;
import com.fasterxml.jackson.databind.util.TokenBuffer;
import java.io.IOException;
import java.time.Instant;

/**
 * msgpack's own timestamp, which a dict of Python's has for a msgpack.Timestamp. Python's datetimes in dicts and dataclasses are
 * texts, and so is an Instant that is written within one.
 */
@JsonSerialize(using = MsgPackTimestamp.Writer.class)
@JsonDeserialize(using = MsgPackTimestamp.Reader.class)
public record MsgPackTimestamp(Instant time) {
    /** Stays what it is in Jackson's trees, and is a text in JSON. */
    static final class Writer extends StdSerializer<MsgPackTimestamp> {
        private static final long serialVersionUID = 1;

        Writer() {
            super(MsgPackTimestamp.class);
        }

        @Override
        public void serialize(MsgPackTimestamp stamp, JsonGenerator json, SerializerProvider provider) throws IOException {
            if (json instanceof TokenBuffer) {
                json.writeEmbeddedObject(stamp);
            } else {
                json.writeString(stamp.time.toString());
            }
        }
    }

    /** Takes what the writer has written. */
    static final class Reader extends StdDeserializer<MsgPackTimestamp> {
        private static final long serialVersionUID = 1;

        Reader() {
            super(MsgPackTimestamp.class);
        }

        @Override
        public MsgPackTimestamp deserialize(JsonParser json, DeserializationContext context) throws IOException {
            if (json.currentToken() == JsonToken.VALUE_EMBEDDED_OBJECT && json.getEmbeddedObject() instanceof MsgPackTimestamp stamp) {
                return stamp;
            }
            return new MsgPackTimestamp(context.readValue(json, Instant.class));
        }
    }
}
