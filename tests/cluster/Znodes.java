import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import kafka.api.LeaderAndIsr;
import kafka.cluster.EndPoint;
import kafka.controller.LeaderIsrAndControllerEpoch;
import kafka.controller.ReplicaAssignment;
import kafka.zk.BrokerIdZNode;
import kafka.zk.ClusterIdZNode;
import kafka.zk.ConfigEntityChangeNotificationSequenceZNode;
import kafka.zk.ConfigEntityZNode;
import kafka.zk.ControllerZNode;
import kafka.zk.FeatureZNode;
import kafka.zk.FeatureZNodeStatus;
import kafka.zk.IsrChangeNotificationSequenceZNode;
import kafka.zk.LogDirEventNotificationSequenceZNode;
import kafka.zk.PreferredReplicaElectionZNode;
import kafka.zk.ProducerIdBlockZNode;
import kafka.zk.ReassignPartitionsZNode;
import kafka.zk.TopicPartitionStateZNode;
import kafka.zk.TopicZNode;
import kafka.zk.ZkData;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.feature.Features;
import org.apache.kafka.common.network.ListenerName;
import org.apache.kafka.common.security.auth.SecurityProtocol;
import org.apache.kafka.common.utils.Sanitizer;
import org.apache.kafka.metadata.LeaderRecoveryState;
import org.apache.kafka.server.common.MetadataVersion;
import org.apache.kafka.server.common.ProducerIdsBlock;
import scala.jdk.javaapi.CollectionConverters;

/** Prints, one to a line, a name and the bytes that Apache Kafka's own classes write into a znode. */
public class Znodes {
    public static void main(String[] arguments) {
        EndPoint plain = endpoint("127.0.0.1", 9092, "PLAINTEXT", SecurityProtocol.PLAINTEXT);
        EndPoint secure = endpoint("::1", 9093, "INSIDE", SecurityProtocol.SASL_SSL);
        for (int version = 2; version <= 5; version++) {
            say("registration " + version, registration(version, "127.0.0.1", 9092, List.of(plain, secure), "r1"));
        }
        say("registration without rack", registration(5, "127.0.0.1", 9092, List.of(plain), null));
        say("registration without plaintext", registration(5, null, -1, List.of(secure), null));
        say("controller", ControllerZNode.encode(7, 123L, -1));
        TopicPartition partition = new TopicPartition("t", 0);
        say("isr change", IsrChangeNotificationSequenceZNode.encode(scalaSet(Set.of(partition))));
        say("log dir event", LogDirEventNotificationSequenceZNode.encode(7));
        say("preferred election", PreferredReplicaElectionZNode.encode(scalaSet(Set.of(partition))));
        for (LeaderRecoveryState recovery : LeaderRecoveryState.values()) {
            LeaderAndIsr state = LeaderAndIsr.apply(1, 5, brokers(1, 2).toList(), recovery, 7);
            say("state " + recovery, TopicPartitionStateZNode.encode(new LeaderIsrAndControllerEpoch(state, 3)));
        }
        Map<TopicPartition, ReplicaAssignment> assignment = new LinkedHashMap<>();
        assignment.put(partition, new ReplicaAssignment(brokers(1, 2), brokers(), brokers()));
        assignment.put(new TopicPartition("t", 1), new ReplicaAssignment(brokers(2, 3), brokers(3), brokers(1)));
        Uuid id = Uuid.fromString("zsIimwXkQiayGNJxGW9uUA");
        say("topic", TopicZNode.encode(scala.Option.apply(id), scalaMap(assignment)));
        say("topic without id", TopicZNode.encode(scala.Option.empty(), scalaMap(assignment)));
        Properties config = new Properties();
        config.put("retention.ms", "1");
        config.put("text", "\u00e9\"\\/\n<>&");
        say("config", ConfigEntityZNode.encode(config));
        say("no config", ConfigEntityZNode.encode(new Properties()));
        say("config change", ConfigEntityChangeNotificationSequenceZNode.encode("topics/t"));
        say("cluster id", ClusterIdZNode.toJson("abc"));
        Map<String, Object> features = Map.of("x", (short) 2);
        say("feature", FeatureZNode.encode(FeatureZNode.apply(
            MetadataVersion.latestProduction(), FeatureZNodeStatus.Enabled$.MODULE$, scalaMap(features))));
        say("producer ids", ProducerIdBlockZNode.generateProducerIdBlockJson(new ProducerIdsBlock(3, 1000, 1000)));
        Map<TopicPartition, scala.collection.Seq<Object>> moves = Map.of(partition, brokers(1, 2));
        say("reassignment", ReassignPartitionsZNode.encode(CollectionConverters.asScala(moves)));
        say("sanitized", Sanitizer.sanitize("a b*~/\u00e9<>%+_-.:@").getBytes(StandardCharsets.UTF_8));
        List<String> paths = CollectionConverters.asJava(ZkData.PersistentZkPaths());
        say("persistent paths", String.join(" ", paths).getBytes(StandardCharsets.UTF_8));
    }

    private static void say(String name, byte[] data) {
        System.out.println(name + "\t" + new String(data, StandardCharsets.UTF_8));
    }

    private static EndPoint endpoint(String host, int port, String listener, SecurityProtocol protocol) {
        return new EndPoint(host, port, new ListenerName(listener), protocol);
    }

    private static byte[] registration(int version, String host, int port, List<EndPoint> endpoints, String rack) {
        return BrokerIdZNode.encode(version, host, port, CollectionConverters.asScala(endpoints).toSeq(), -1,
            scala.Option.apply(rack), Features.emptySupportedFeatures());
    }

    private static scala.collection.immutable.Seq<Object> brokers(Object... ids) {
        return CollectionConverters.asScala(new ArrayList<>(List.of(ids))).toSeq();
    }

    private static <T> scala.collection.immutable.Set<T> scalaSet(Set<T> set) {
        return CollectionConverters.asScala(set).toSet();
    }

    private static <K, V> scala.collection.immutable.Map<K, V> scalaMap(Map<K, V> map) {
        return scala.collection.immutable.Map$.MODULE$.from(CollectionConverters.asScala(map));
    }
}
