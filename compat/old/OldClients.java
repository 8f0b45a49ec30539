// The clients that Kafka had before 0.11, told to do things; what they find is printed, one line for each fact.
//
// One source for 0.8.2 to 0.10.2: what not all of them have is asked for by reflection, or stands in NewConsumer.java.
// Usage: OldClients <host> <port> <topic> <action>...

import java.nio.ByteBuffer;
import java.util.*;
import java.util.concurrent.Future;
import kafka.api.FetchRequestBuilder;
import kafka.api.PartitionOffsetRequestInfo;
import kafka.common.OffsetAndMetadata;
import kafka.common.OffsetMetadataAndError;
import kafka.common.TopicAndPartition;
import kafka.javaapi.*;
import kafka.javaapi.consumer.SimpleConsumer;
import kafka.message.MessageAndOffset;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;

public final class OldClients {
    static final String BYTES_IN = "org.apache.kafka.common.serialization.ByteArraySerializer";
    static final String[] CODECS = {"none", "gzip", "snappy", "lz4"};
    static String host;
    static int port;
    static String topic;

    public static void main(String[] words) throws Exception {
        host = words[0];
        port = Integer.parseInt(words[1]);
        topic = words[2];
        for (String action : Arrays.copyOfRange(words, 3, words.length)) {
            switch (action) {
                case "produce": produce(); break;
                case "produce-scala": produceScala(); break;
                case "metadata": metadata(); break;
                case "offsets": offsets(); break;
                case "fetch": fetch(); break;
                case "commit": commit(); break;
                default: Class.forName("NewConsumer").getMethod("run", String.class, String.class, String.class)
                    .invoke(null, host + ":" + port, topic, action);
            }
        }
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    static byte[] text(String what) {
        return what.getBytes(java.nio.charset.StandardCharsets.UTF_8);
    }

    static String shown(ByteBuffer buffer) {
        if (buffer == null) return "null";
        byte[] found = new byte[buffer.remaining()];
        buffer.duplicate().get(found);
        return shown(found);
    }

    static String shown(byte[] found) {
        if (found == null) return "null";
        String all = new String(found, java.nio.charset.StandardCharsets.UTF_8);
        return all.length() > 40 ? all.substring(0, 12) + "..." + all.length() : all;
    }

    /** Three records in each codec and with each kind of acknowledgement, with times of their own if the client can. */
    static void produce() throws Exception {
        int number = 0;
        List<KafkaProducer<byte[], byte[]>> open = new ArrayList<>();
        for (String codec : CODECS) {
            for (String acks : codec.equals("none") ? new String[] {"all", "1", "0"} : new String[] {"all"}) {
                Properties how = new Properties();
                how.put("bootstrap.servers", host + ":" + port);
                how.put("key.serializer", BYTES_IN);
                how.put("value.serializer", BYTES_IN);
                how.put("acks", acks);
                how.put("compression.type", codec);
                how.put("linger.ms", "50");
                KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(how);
                List<Future<RecordMetadata>> sent = new ArrayList<>();
                for (int index = 0; index < 3; index++) {
                    byte[] key = index == 2 ? null : text("key-" + number % 5);
                    byte[] value = text("value-" + number + "-" + codec + "-" + acks + "-" + "x".repeat(100 * index));
                    sent.add(producer.send(record(key, value, 1000L * number)));
                    number++;
                }
                for (Future<RecordMetadata> one : sent)
                    System.out.println("produced " + codec + " acks " + acks + " offset " + one.get().offset());
                open.add(producer);
            }
        }
        // Not before all are written: an old broker forgets what it has received and not yet begun when the
        // connection closes (KAFKA-3703), and with acks 0 nothing tells the client that it was begun.
        for (KafkaProducer<byte[], byte[]> one : open) one.close();
    }

    static ProducerRecord<byte[], byte[]> record(byte[] key, byte[] value, long time) throws Exception {
        for (java.lang.reflect.Constructor<?> one : ProducerRecord.class.getConstructors()) {
            if (one.getParameterCount() == 5) {
                @SuppressWarnings("unchecked")
                ProducerRecord<byte[], byte[]> made =
                    (ProducerRecord<byte[], byte[]>) one.newInstance(topic, 0, time, key, value);
                return made;
            }
        }
        return new ProducerRecord<>(topic, 0, key, value);
    }

    /** The producer of 0.8.0, which the later versions still had. */
    static void produceScala() {
        for (String codec : new String[] {"none", "gzip", "snappy"}) {
            Properties how = new Properties();
            how.put("metadata.broker.list", host + ":" + port);
            how.put("serializer.class", "kafka.serializer.DefaultEncoder");
            how.put("request.required.acks", "-1");
            how.put("compression.codec", codec);
            how.put("message.send.max.retries", "0");
            kafka.javaapi.producer.Producer<byte[], byte[]> producer =
                new kafka.javaapi.producer.Producer<>(new kafka.producer.ProducerConfig(how));
            List<kafka.producer.KeyedMessage<byte[], byte[]>> all = new ArrayList<>();
            for (int index = 0; index < 3; index++)
                all.add(new kafka.producer.KeyedMessage<>(topic, text("scala-" + index), text("scala-" + codec + index)));
            producer.send(all);
            producer.close();
            System.out.println("produced by the old producer " + codec);
        }
    }

    static SimpleConsumer consumer() {
        return new SimpleConsumer(host, port, 30000, 1 << 20, "old");
    }

    static void metadata() {
        SimpleConsumer consumer = consumer();
        for (TopicMetadata one : consumer.send(new TopicMetadataRequest(Collections.singletonList(topic))).topicsMetadata())
            for (PartitionMetadata part : one.partitionsMetadata())
                System.out.println("topic " + one.topic() + " error " + one.errorCode() + " partition " + part.partitionId()
                    + " error " + part.errorCode() + " leader " + part.leader().id() + " replicas " + part.replicas().size()
                    + " isr " + part.isr().size());
        consumer.close();
    }

    static void offsets() {
        SimpleConsumer consumer = consumer();
        for (long time : new long[] {-2, -1, 0, Long.MAX_VALUE}) {
            for (int count : new int[] {1, 10}) {
                Map<TopicAndPartition, PartitionOffsetRequestInfo> asked = new HashMap<>();
                asked.put(new TopicAndPartition(topic, 0), new PartitionOffsetRequestInfo(time, count));
                OffsetResponse answer = consumer.getOffsetsBefore(new OffsetRequest(asked, (short) 0, "old"));
                System.out.println("offsets before " + time + " at most " + count + " error " + answer.errorCode(topic, 0)
                    + " " + Arrays.toString(answer.offsets(topic, 0)));
            }
        }
        consumer.close();
    }

    /** Everything from the beginning on in pieces, then what cannot be given. */
    static void fetch() {
        SimpleConsumer consumer = consumer();
        long end = end(consumer);
        for (int size : new int[] {100000, 700}) {
            long offset = 0;
            int rounds = 0;
            while (offset < end && rounds++ < 200) {
                FetchResponse answer = consumer.fetch(request(offset, size));
                long before = offset;
                for (MessageAndOffset one : answer.messageSet(topic, 0)) {
                    if (one.offset() < offset) continue;
                    System.out.println("fetched " + one.offset() + " " + shown(one.message().key()) + " "
                        + shown(one.message().payload()) + " magic " + one.message().magic());
                    offset = one.nextOffset();
                }
                if (offset == before) {
                    System.out.println("stuck at " + offset + " with " + size + " error " + answer.errorCode(topic, 0)
                        + " bytes " + answer.messageSet(topic, 0).sizeInBytes());
                    break;
                }
            }
            System.out.println("read up to " + offset + " with " + size + " in " + rounds + " fetches");
        }
        for (long offset : new long[] {end, end + 1, -1}) {
            FetchResponse answer = consumer.fetch(request(offset, 1000));
            System.out.println("fetch at " + (offset - end) + " from the end: error " + answer.errorCode(topic, 0) + " high watermark "
                + answer.highWatermark(topic, 0) + " bytes " + answer.messageSet(topic, 0).sizeInBytes());
        }
        consumer.close();
    }

    static kafka.api.FetchRequest request(long offset, int size) {
        return new FetchRequestBuilder().clientId("old").addFetch(topic, 0, offset, size).maxWait(10).minBytes(1).build();
    }

    static long end(SimpleConsumer consumer) {
        Map<TopicAndPartition, PartitionOffsetRequestInfo> asked = new HashMap<>();
        asked.put(new TopicAndPartition(topic, 0), new PartitionOffsetRequestInfo(-1, 1));
        return consumer.getOffsetsBefore(new OffsetRequest(asked, (short) 0, "old")).offsets(topic, 0)[0];
    }

    /** Offsets in ZooKeeper (version 0) and in Kafka (version 1), which do not know of each other. */
    static void commit() {
        SimpleConsumer consumer = consumer();
        TopicAndPartition here = new TopicAndPartition(topic, 0), nowhere = new TopicAndPartition("no-such-topic", 0);
        String group = "group-of-" + topic;
        for (short version = 0; version < 2; version++) {
            Map<TopicAndPartition, OffsetAndMetadata> offsets = new LinkedHashMap<>();
            offsets.put(here, OffsetAndMetadata.apply(7L + version, "note " + version, -1L));
            OffsetCommitResponse done = consumer.commitOffsets(new OffsetCommitRequest(group, offsets, 1, "old", version));
            System.out.println("commit version " + version + " error " + done.errorCode(here));
            OffsetFetchResponse found =
                consumer.fetchOffsets(new OffsetFetchRequest(group, Arrays.asList(here, nowhere), version, 2, "old"));
            for (Map.Entry<TopicAndPartition, OffsetMetadataAndError> one : new TreeMap<>(byName(found.offsets())).values())
                System.out.println("committed version " + version + " " + one.getKey() + " " + one.getValue().offset() + " \""
                    + one.getValue().metadata() + "\" error " + one.getValue().error());
        }
        consumer.close();
    }

    static Map<String, Map.Entry<TopicAndPartition, OffsetMetadataAndError>> byName(
        Map<TopicAndPartition, OffsetMetadataAndError> found) {
        Map<String, Map.Entry<TopicAndPartition, OffsetMetadataAndError>> named = new HashMap<>();
        for (Map.Entry<TopicAndPartition, OffsetMetadataAndError> one : found.entrySet())
            named.put(one.getKey().toString(), one);
        return named;
    }
}
