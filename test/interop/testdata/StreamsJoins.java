import java.io.FileReader;
import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KStream;

/**
 * Joins the clicks of users with the region that a user has at that time, and with the orders of the same user from a
 * second before to a second after. Orders come under another key: their values are "USER ORDER".
 */
public class StreamsJoins {
    public static void main(String[] args) throws Exception {
        Properties properties = new Properties();
        try (FileReader file = new FileReader(args[0])) {
            properties.load(file);
        }
        properties.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        properties.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);

        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, String> clicks = builder.stream("clicks");
        KStream<String, String> orders = builder.<String, String>stream("orders")
            .selectKey((key, order) -> order.split(" ")[0]);
        clicks.join(builder.<String, String>table("users"), (click, region) -> click + " in " + region)
            .to("regions");
        clicks.join(orders, (click, order) -> click + " with " + order,
                JoinWindows.ofTimeDifferenceAndGrace(Duration.ofSeconds(1), Duration.ofHours(1)))
            .to("pairs");

        KafkaStreams streams = new KafkaStreams(builder.build(), properties);
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }
}
