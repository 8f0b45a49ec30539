import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.Proxy;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Base64;

import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.errors.CorruptRecordException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.record.AbstractRecords;
import org.apache.kafka.common.record.CompressionType;
import org.apache.kafka.common.record.ConvertedRecords;
import org.apache.kafka.common.record.MemoryRecords;
import org.apache.kafka.common.record.MemoryRecordsBuilder;
import org.apache.kafka.common.record.RecordBatch;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.requests.ProduceRequest;
import org.apache.kafka.common.requests.ProduceResponse;
import org.apache.kafka.common.utils.BufferSupplier;
import org.apache.kafka.common.utils.PrimitiveRef;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.server.common.MetadataVersion;
import org.apache.kafka.storage.internals.log.AppendOrigin;
import org.apache.kafka.storage.internals.log.LogValidator;
import org.apache.kafka.storage.internals.log.RecordValidationException;

/**
 * Answers questions about records with Apache Kafka's own classes: one line in, one line out.
 *
 * <pre>
 * validate VERSION CODEC COMPACTED TIMESTAMP_TYPE BEFORE_MS AFTER_MS NOW =BYTES   ok MAX_TIMESTAMP =BYTES RECORDS
 * read =BYTES                                                                     ok RECORDS
 * down MAGIC FIRST_OFFSET =BYTES                                                  ok =BYTES
 * build MAGIC CODEC COUNT VALUE_SIZE                                              ok =BYTES RECORDS
 * </pre>
 *
 * A refusal is {@code error CODE =TEXT INDEX=TEXT...}. Bytes and texts are in base 64 behind an equals sign, a null
 * is {@code -}; a record is {@code offset,timestamp,key,value,name=value...}, and a semicolon ends it.
 */
public final class Judge {
    private static final TopicPartition PLACE = new TopicPartition("t", 0);

    private static final LogValidator.MetricsRecorder NO_METRICS = new LogValidator.MetricsRecorder() {
        @Override public void recordInvalidMagic() { }
        @Override public void recordInvalidOffset() { }
        @Override public void recordInvalidSequence() { }
        @Override public void recordInvalidChecksums() { }
        @Override public void recordNoKeyCompactedTopic() { }
    };

    public static void main(String[] arguments) throws Exception {
        BufferedReader questions = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        for (String line = questions.readLine(); line != null; line = questions.readLine()) {
            System.out.println(answer(line.split(" ")));
            System.out.flush();
        }
    }

    private static String answer(String[] words) {
        try {
            switch (words[0]) {
                case "validate": return validate(words);
                case "read": return read(words);
                case "down": return down(words);
                case "build": return build(words);
                default: throw new IllegalArgumentException(words[0]);
            }
        } catch (RecordValidationException refusal) {
            StringBuilder out = new StringBuilder(refused(refusal.invalidException()));
            for (ProduceResponse.RecordError error : refusal.recordErrors())
                out.append(' ').append(error.batchIndex).append(packed(error.message.getBytes(StandardCharsets.UTF_8)));
            return out.toString();
        } catch (Throwable refusal) {
            return refused(refusal);
        }
    }

    private static String refused(Throwable refusal) {
        byte[] text = String.valueOf(refusal.getMessage()).getBytes(StandardCharsets.UTF_8);
        return "error " + Errors.forException(refusal).code() + " " + packed(text);
    }

    /** What ProduceRequest, UnifiedLog and LogValidator check, in their order, as far as bytes are concerned. */
    private static String validate(String[] words) throws Exception {
        MemoryRecords records = MemoryRecords.readableRecords(unpacked(words[8]));
        ProduceRequest.validateRecords(Short.parseShort(words[1]), records);
        CompressionType source = CompressionType.NONE;
        int valid = 0;
        for (RecordBatch batch : records.batches()) {
            if (batch.magic() >= RecordBatch.MAGIC_VALUE_V2 && batch.baseOffset() != 0)
                throw new org.apache.kafka.common.InvalidRecordException(
                    "The baseOffset of the record batch in the append to t-0 should be 0, but it is " + batch.baseOffset());
            if (!batch.isValid())
                throw new CorruptRecordException(
                    "Record is corrupt (stored crc = " + batch.checksum() + ") in topic partition t-0.");
            if (batch.compressionType() != CompressionType.NONE)
                source = batch.compressionType();
            valid += batch.sizeInBytes();
        }
        ByteBuffer trimmed = records.buffer();
        trimmed.limit(trimmed.position() + valid);
        records = MemoryRecords.readableRecords(trimmed.slice());
        Compression target = words[2].equals("producer") ? Compression.of(source).build()
            : words[2].equals("uncompressed") ? Compression.NONE : Compression.of(words[2]).build();
        TimestampType type = words[4].equals("CreateTime") ? TimestampType.CREATE_TIME : TimestampType.LOG_APPEND_TIME;
        LogValidator.ValidationResult result = new LogValidator(records, PLACE, standing(Long.parseLong(words[7])),
            source, target, words[3].equals("1"), RecordBatch.MAGIC_VALUE_V2, type, Long.parseLong(words[5]),
            Long.parseLong(words[6]), 0, AppendOrigin.CLIENT, MetadataVersion.IBP_3_9_IV0
        ).validateMessagesAndAssignOffsets(PrimitiveRef.ofLong(0), NO_METRICS, BufferSupplier.NO_CACHING);
        return "ok " + result.maxTimestampMs + " " + packed(result.validatedRecords) + " " + shown(result.validatedRecords);
    }

    private static String read(String[] words) {
        MemoryRecords records = MemoryRecords.readableRecords(unpacked(words[1]));
        for (RecordBatch batch : records.batches())
            batch.ensureValid();
        return "ok " + shown(records);
    }

    private static String down(String[] words) {
        AbstractRecords records = MemoryRecords.readableRecords(unpacked(words[3]));
        ConvertedRecords<? extends org.apache.kafka.common.record.Records> converted =
            ((MemoryRecords) records).downConvert(Byte.parseByte(words[1]), Long.parseLong(words[2]), Time.SYSTEM);
        return "ok " + packed((MemoryRecords) converted.records());
    }

    private static String build(String[] words) {
        MemoryRecordsBuilder builder = MemoryRecords.builder(ByteBuffer.allocate(1024), Byte.parseByte(words[1]),
            Compression.of(CompressionType.forName(words[2])).build(), TimestampType.CREATE_TIME, 0L);
        for (int index = 0; index < Integer.parseInt(words[3]); index++) {
            byte[] value = new byte[Integer.parseInt(words[4])];
            for (int place = 0; place < value.length; place++)
                value[place] = (byte) ('a' + (place * 7 + index * place) % 5);
            builder.append(1000L + index, ("k" + index).getBytes(StandardCharsets.US_ASCII), value);
        }
        MemoryRecords records = builder.build();
        return "ok " + packed(records) + " " + shown(records);
    }

    /** A clock that stands still. */
    private static Time standing(long now) {
        return (Time) Proxy.newProxyInstance(Judge.class.getClassLoader(), new Class<?>[] {Time.class},
            (proxy, method, given) -> method.getName().equals("milliseconds") ? (Object) now
                : method.getName().equals("nanoseconds") ? (Object) (now * 1_000_000) : null);
    }

    private static ByteBuffer unpacked(String word) {
        return ByteBuffer.wrap(Base64.getDecoder().decode(word.substring(1)));
    }

    private static String packed(MemoryRecords records) {
        return packed(bytes(records.buffer()));
    }

    private static String packed(byte[] data) {
        return data == null ? "-" : "=" + Base64.getEncoder().encodeToString(data);
    }

    private static byte[] bytes(ByteBuffer buffer) {
        if (buffer == null)
            return null;
        byte[] data = new byte[buffer.remaining()];
        buffer.duplicate().get(data);
        return data;
    }

    private static String shown(MemoryRecords records) {
        StringBuilder out = new StringBuilder();
        for (org.apache.kafka.common.record.Record record : records.records()) {
            out.append(record.offset()).append(',').append(record.timestamp());
            out.append(',').append(packed(bytes(record.key()))).append(',').append(packed(bytes(record.value())));
            for (Header header : record.headers())
                out.append(',').append(packed(header.key().getBytes(StandardCharsets.UTF_8))).append(packed(header.value()));
            out.append(';');
        }
        return out.toString();
    }
}
