// The consumer that came with 0.9: in a group, by time, from anywhere.

import java.util.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.TopicPartition;

public final class NewConsumer {
    static final String BYTES_OUT = "org.apache.kafka.common.serialization.ByteArrayDeserializer";

    public static void run(String servers, String topic, String action) throws Exception {
        switch (action) {
            case "consume": consume(servers, topic); break;
            case "times": times(servers, topic); break;
            default: throw new IllegalArgumentException(action);
        }
    }

    static KafkaConsumer<byte[], byte[]> made(String servers, String group, int size) {
        Properties how = new Properties();
        how.put("bootstrap.servers", servers);
        how.put("group.id", group);
        how.put("key.deserializer", BYTES_OUT);
        how.put("value.deserializer", BYTES_OUT);
        how.put("auto.offset.reset", "earliest");
        how.put("enable.auto.commit", "false");
        how.put("session.timeout.ms", "10000");
        how.put("max.partition.fetch.bytes", String.valueOf(size));
        return new KafkaConsumer<>(how);
    }

    /** A member reads half, commits and leaves; the next one goes on from there, in small pieces. */
    static void consume(String servers, String topic) throws Exception {
        TopicPartition here = new TopicPartition(topic, 0);
        long end = end(servers, here);
        String group = "consumers-of-" + topic;
        for (int member = 0; member < 2; member++) {
            KafkaConsumer<byte[], byte[]> consumer = made(servers, group, member == 0 ? 1 << 20 : 700);
            consumer.subscribe(Collections.singletonList(topic));
            long upTo = member == 0 ? end / 2 : end, offset = -1;
            long deadline = System.currentTimeMillis() + 20000;
            while (offset < upTo && System.currentTimeMillis() < deadline) {
                for (ConsumerRecord<byte[], byte[]> one : consumer.poll(100)) {
                    if (one.offset() >= upTo) continue;
                    System.out.println("member " + member + " consumed " + one.offset() + " " + OldClients.shown(one.key()) + " "
                        + OldClients.shown(one.value()) + time(one));
                    offset = one.offset() + 1;
                }
            }
            consumer.commitSync(Collections.singletonMap(here, new OffsetAndMetadata(upTo, "member " + member)));
            OffsetAndMetadata found = consumer.committed(here);
            System.out.println("committed " + found.offset() + " \"" + found.metadata() + "\"");
            consumer.close();
        }
    }

    static long end(String servers, TopicPartition here) throws Exception {
        KafkaConsumer<byte[], byte[]> consumer = made(servers, "end", 1 << 20);
        consumer.assign(Collections.singletonList(here));
        try {
            KafkaConsumer.class.getMethod("seekToEnd", Collection.class)
                .invoke(consumer, Collections.singletonList(here));
        } catch (NoSuchMethodException old) {
            KafkaConsumer.class.getMethod("seekToEnd", TopicPartition[].class)
                .invoke(consumer, (Object) new TopicPartition[] {here});
        }
        long end = consumer.position(here);
        System.out.println("end " + end);
        consumer.close();
        return end;
    }

    static String time(ConsumerRecord<byte[], byte[]> one) throws Exception {
        try {
            return " at " + ConsumerRecord.class.getMethod("timestamp").invoke(one) + " "
                + ConsumerRecord.class.getMethod("timestampType").invoke(one);
        } catch (NoSuchMethodException old) {
            return "";
        }
    }

    /** By time, which only 0.10.1 and later can ask. */
    static void times(String servers, String topic) throws Exception {
        TopicPartition here = new TopicPartition(topic, 0);
        KafkaConsumer<byte[], byte[]> consumer = made(servers, "times", 1 << 20);
        java.lang.reflect.Method look = KafkaConsumer.class.getMethod("offsetsForTimes", Map.class);
        for (long time : new long[] {0, 1, 1000, 4500, 5000, 17000, 35000, Long.MAX_VALUE})
            System.out.println("first at " + time + ": "
                + ((Map<?, ?>) look.invoke(consumer, Collections.singletonMap(here, time))).get(here));
        consumer.close();
    }
}
