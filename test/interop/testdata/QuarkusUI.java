import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.quarkus.kafka.client.runtime.KafkaAdminClient;
import io.quarkus.kafka.client.runtime.dev.ui.KafkaJsonRPCService;
import io.quarkus.kafka.client.runtime.dev.ui.KafkaTopicClient;
import io.quarkus.kafka.client.runtime.dev.ui.KafkaUiUtils;
import io.quarkus.kafka.client.runtime.dev.ui.model.converter.KafkaModelConverter;
import io.quarkus.kafka.client.runtime.dev.ui.model.decoder.KafkaMessageDecoderRegistry;
import io.quarkus.kafka.client.runtime.dev.ui.model.response.KafkaTopic;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;

/**
 * Calls what serves the screens of Quarkus's admin UI for Kafka, and prints its answers.
 *
 * <p>QuarkusUI BOOTSTRAP PREFIX works the topics and groups that begin with PREFIX. Each line of
 * the output is [what was asked, what was answered].
 */
public class QuarkusUI {
    static final ObjectMapper json = new ObjectMapper();
    static String prefix;

    public static void main(String[] args) throws Exception {
        prefix = args[1];
        var ui = service(Map.of("bootstrap.servers", args[0]));
        var read = prefix + "-records";
        var made = prefix + "-made";
        say("info", ui::getInfo);
        say("partitions", () -> ui.getPartitions(read));
        say("messages", () -> ui.topicMessages(read));
        say("access control lists", ui::getAclInfo);
        ui.createTopic(made, 1, 1, Map.of("retention.ms", "-1"));
        say("create", () -> listed(ui, made, true));
        say("create it again", () -> ui.createTopic(made, 1, 1, Map.of()));
        say("create with a config that is none", () -> ui.createTopic(made + "-2", 1, 1, Map.of("retention.ms", "long")));
        say("create a message", () -> ui.createMessage(made, 0, "key", "value", Map.of("name", "header")));
        say("create another, of no partition", () -> ui.createMessage(made, null, "key", "value", Map.of()));
        ui.deleteTopic(made);
        say("delete", () -> listed(ui, made, false));
        say("partitions of what was deleted", () -> ui.getPartitions(made));
        System.exit(0);
    }

    /** The server would inject what is set here. */
    static KafkaJsonRPCService service(Map<String, Object> config) throws Exception {
        var admin = set(new KafkaAdminClient(), "config", config);
        var init = KafkaAdminClient.class.getDeclaredMethod("init");
        init.setAccessible(true);
        init.invoke(admin);
        var converter = set(new KafkaModelConverter(), "decoderRegistry", new KafkaMessageDecoderRegistry(List.of()));
        var topics = set(set(set(new KafkaTopicClient(), "adminClient", admin), "modelConverter", converter), "config", config);
        var ui = set(new KafkaJsonRPCService(), "kafkaAdminClient", admin);
        return set(ui, "kafkaUiUtils", new KafkaUiUtils(admin, topics, config));
    }

    /** The topics, once one is among them or has gone: Apache Kafka answers sooner than it lists. */
    static List<KafkaTopic> listed(KafkaJsonRPCService ui, String topic, boolean there) throws Exception {
        for (var end = System.nanoTime() + 60_000_000_000L; ; ) {
            var topics = ui.getTopics();
            if (topics.stream().anyMatch(t -> t.getName().equals(topic)) == there || System.nanoTime() > end) return topics;
        }
    }

    static <T> T set(T object, String field, Object value) throws Exception {
        var f = object.getClass().getDeclaredField(field);
        f.setAccessible(true);
        f.set(object, value);
        return object;
    }

    static void say(String what, Callable<?> call) throws Exception {
        JsonNode answer;
        try {
            answer = ours(json.valueToTree(call.call()));
        } catch (Exception e) {
            Throwable cause = e;
            while (cause.getCause() != null) cause = cause.getCause();
            answer = json.valueToTree("refused: " + cause.getClass().getSimpleName());
        }
        System.out.println(json.writeValueAsString(json.createArrayNode().add(what).add(answer)));
    }

    /** Leaves out the topics and groups of others, and what no two brokers share, and sorts by name. */
    static JsonNode ours(JsonNode answer) {
        if (answer instanceof ArrayNode array) {
            var kept = new ArrayList<JsonNode>();
            array.forEach(kept::add);
            kept.removeIf(n -> !n.path("name").asText(prefix).startsWith(prefix));
            kept.sort(Comparator.comparing(n -> n.path("name").asText()));
            array.removeAll().addAll(kept);
        }
        if (answer instanceof ObjectNode object) {
            object.remove("topicId");
            object.remove("clusterId");
            object.remove("timestamp");
            if (object.has("nodes")) object.remove("id");
        }
        answer.forEach(QuarkusUI::ours);
        return answer;
    }
}
