import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs command-line tools of Apache Kafka in one virtual machine: one for each line of
 * standard input, which is its class and its arguments with tabs between. After each it
 * prints what the tool has printed on both streams, then its exit status.
 */
public class Tools {
    /** What ends a tool in place of the virtual machine. */
    static class Exited extends Error {
        final int status;

        Exited(int status) {
            super("exit " + status, null, false, false);
            this.status = status;
        }
    }

    public static void main(String[] args) throws Exception {
        PrintStream out = System.out;
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        PrintStream both = new PrintStream(printed, true);
        System.setOut(both);
        System.setErr(both);
        Exit.setExitProcedure((status, message) -> { throw new Exited(status); });
        Exit.setHaltProcedure((status, message) -> { throw new Exited(status); });
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = lines.readLine()) != null; ) {
            String[] words = line.split("\t");
            printed.reset();
            int status = run(words[0], Arrays.copyOfRange(words, 1, words.length));
            both.flush();
            out.print(printed);
            out.println("=== exit " + status);
            publish(words[Arrays.asList(words).indexOf("--bootstrap-server") + 1]);
        }
        out.flush();
        Runtime.getRuntime().halt(0);
    }

    static Admin admin;
    static int published;

    /**
     * Waits until a broker knows all that was changed so far: that of Apache Kafka hears of it
     * after the answer. The last change is a configuration that nobody else sets.
     */
    static void publish(String bootstrap) throws Exception {
        if (admin == null) admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
        var barrier = new ConfigResource(ConfigResource.Type.GROUP, "barrier-of-tools");
        var set = new ConfigEntry("consumer.session.timeout.ms", "" + (45_000 + ++published));
        admin.incrementalAlterConfigs(Map.of(barrier, List.of(new AlterConfigOp(set, AlterConfigOp.OpType.SET)))).all().get();
        while (!admin.describeConfigs(List.of(barrier)).all().get().get(barrier).get(set.name()).value().equals(set.value())) {
            Thread.sleep(5);
        }
    }

    static int run(String tool, String[] args) throws Exception {
        try {
            Class.forName(tool).getMethod("main", String[].class).invoke(null, (Object) args);
            return 0;
        } catch (InvocationTargetException e) {
            if (e.getCause() instanceof Exited exited) {
                return exited.status;
            }
            e.getCause().printStackTrace();
            return 1;
        }
    }
}
