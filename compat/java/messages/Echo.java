import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Base64;

import com.fasterxml.jackson.databind.JsonNode;

import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.MessageUtil;

/**
 * Reads messages with Apache Kafka's own classes and writes them again: one line in, one line out.
 *
 * <pre>
 * CLASS VERSION =BYTES    ok BYTES_READ =BYTES =JSON
 * </pre>
 *
 * A refusal is {@code error =TEXT}. Bytes and texts are in base 64 behind an equals sign.
 */
public final class Echo {
    public static void main(String[] arguments) throws Exception {
        BufferedReader questions = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        for (String line = questions.readLine(); line != null; line = questions.readLine()) {
            System.out.println(answer(line.split(" ")));
            System.out.flush();
        }
    }

    private static String answer(String[] words) throws Exception {
        Class<?> kind = Class.forName(words[0]);
        short version = Short.parseShort(words[1]);
        Message message = (Message) kind.getDeclaredConstructor().newInstance();
        ByteBuffer given = ByteBuffer.wrap(Base64.getDecoder().decode(words[2].substring(1)));
        try {
            message.read(new ByteBufferAccessor(given), version);
        } catch (RuntimeException refusal) {
            return "error " + packed(refusal.toString().getBytes(StandardCharsets.UTF_8));
        }
        int read = given.position();
        try {
            ByteBuffer written = MessageUtil.toByteBuffer(message, version);
            byte[] bytes = new byte[written.remaining()];
            written.get(bytes);
            Class<?> converter = Class.forName(words[0] + "JsonConverter");
            JsonNode json = (JsonNode) converter.getMethod("write", kind, short.class).invoke(null, message, version);
            return "ok " + read + " " + packed(bytes) + " " + packed(json.toString().getBytes(StandardCharsets.UTF_8));
        } catch (RuntimeException refusal) {
            return "unwritable " + read + " " + packed(refusal.toString().getBytes(StandardCharsets.UTF_8));
        }
    }

    private static String packed(byte[] bytes) {
        return "=" + Base64.getEncoder().encodeToString(bytes);
    }
}
