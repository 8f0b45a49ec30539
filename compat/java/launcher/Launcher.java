import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.lang.reflect.Field;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.regex.Pattern;

/**
 * Runs many command-line tools of one Kafka version inside one virtual machine, several at a time, each as if it had
 * a process of its own: its own standard streams, its own exit status, its own shutdown hooks, its own static state.
 *
 * <p>A command is known by its thread group: whatever thread the tool starts inherits it, so that what it prints, how
 * it exits and which hooks it leaves can be told from those of the command beside it. The libraries are loaded once;
 * the jars of the tools themselves are loaded afresh for every command, because many tools keep state in statics.
 *
 * <p>Kafka's tools end the process through {@code org.apache.kafka.common.utils.Exit}. Here that runs the command's
 * shutdown hooks, reports what was printed until then, and only afterwards unwinds the thread that called it, with
 * its streams cut off, so that clients are closed and leave no threads behind.
 *
 * <p>Arguments: the class path. Requests on standard input, answers on standard output, both in DataInput's integers
 * (big-endian): request = id, count, count texts (length, UTF-8); answer = id, status, output text, error text.
 * A request's texts are {@code run}, main class, standard input, arguments..., or {@code end} (what SIGTERM does).
 */
public final class Launcher {
    private static final Pattern TOOLS_OWN_JAR = Pattern.compile("kafka(_2\\.\\d+|-tools)-\\d.*\\.jar");
    private static final int STATUS_OF_SIGTERM = 143;
    private static final long PATIENCE_MS = 20_000;

    private static final Map<ThreadGroup, Command> COMMANDS = new ConcurrentHashMap<>();
    private static final Map<Integer, Command> BY_ID = new ConcurrentHashMap<>();
    private static final ThreadGroup ROOT = Thread.currentThread().getThreadGroup();
    private static final PrintStream REAL_ERR = System.err;
    private static final DataOutputStream ANSWERS = new DataOutputStream(new FileOutputStream(FileDescriptor.out));

    private static URL[] toolJars;
    private static ClassLoader libraries;

    private Launcher() {
    }

    public static void main(String[] arguments) throws Exception {
        System.setOut(new PrintStream(new SwitchedOutput(true), true));
        System.setErr(new PrintStream(new SwitchedOutput(false), true));
        System.setIn(new SwitchedInput());
        load(arguments[0].split(":"));
        // Two commands that begin at once would otherwise find the logging half made, and say so.
        libraries.loadClass("org.slf4j.LoggerFactory").getMethod("getLogger", String.class).invoke(null, "launcher");
        trapExit();
        trapSystemExit();
        DataInputStream requests = new DataInputStream(new FileInputStream(FileDescriptor.in));
        while (true) {
            int id;
            try {
                id = requests.readInt();
            } catch (EOFException gone) {
                Runtime.getRuntime().halt(0);
                return;
            }
            List<String> texts = new ArrayList<>();
            for (int left = requests.readInt(); left > 0; left--) {
                texts.add(new String(requests.readNBytes(requests.readInt()), StandardCharsets.UTF_8));
            }
            if (texts.get(0).equals("run")) {
                new Command(id, texts).start();
            } else {
                Command running = BY_ID.get(id);
                if (running != null) {
                    new Thread(() -> running.end(STATUS_OF_SIGTERM)).start();
                }
            }
        }
    }

    private static void load(String[] jars) throws IOException {
        List<URL> tools = new ArrayList<>();
        List<URL> rest = new ArrayList<>();
        for (String jar : jars) {
            Path path = Path.of(jar);
            (TOOLS_OWN_JAR.matcher(path.getFileName().toString()).matches() ? tools : rest).add(path.toUri().toURL());
        }
        toolJars = tools.toArray(new URL[0]);
        libraries = new URLClassLoader(rest.toArray(new URL[0]), ClassLoader.getPlatformClassLoader());
    }

    private static void trapExit() throws ReflectiveOperationException {
        Class<?> exit = libraries.loadClass("org.apache.kafka.common.utils.Exit");
        Class<?> procedure = libraries.loadClass("org.apache.kafka.common.utils.Exit$Procedure");
        Object trap = Proxy.newProxyInstance(libraries, new Class<?>[] {procedure}, (proxy, method, arguments) -> {
            Command command = current();
            if (command != null) {
                command.exit((Integer) arguments[0]);
            }
            return null;
        });
        exit.getMethod("setExitProcedure", procedure).invoke(null, trap);
        exit.getMethod("setHaltProcedure", procedure).invoke(null, trap);
    }

    /** The parser of arguments that some tools use calls System.exit itself; up to Java 23 this is the way to know. */
    @SuppressWarnings("removal")
    private static void trapSystemExit() {
        System.setSecurityManager(new SecurityManager() {
            @Override
            public void checkPermission(java.security.Permission permission) {
            }

            @Override
            public void checkPermission(java.security.Permission permission, Object context) {
            }

            @Override
            public void checkExit(int status) {
                Command command = current();
                if (command != null) {
                    command.exit(status);
                }
            }
        });
    }

    private static Command current() {
        for (ThreadGroup group = Thread.currentThread().getThreadGroup(); group != null; group = group.getParent()) {
            Command command = COMMANDS.get(group);
            if (command != null) {
                return command;
            }
        }
        return null;
    }

    /** Thrown where a command called exit, after its end, so that its thread closes what it holds. */
    private static final class Unwinding extends Error {
        private static final long serialVersionUID = 1L;

        Unwinding() {
            super("the command has exited", null, false, false);
        }
    }

    private static final class Command {
        private final int id;
        private final String mainClass;
        private final String[] arguments;
        private final InputStream input;
        private final ThreadGroup group;
        private final ByteArrayOutputStream output = new ByteArrayOutputStream();
        private final ByteArrayOutputStream errors = new ByteArrayOutputStream();
        private final CountDownLatch over = new CountDownLatch(1);
        private volatile int naturalStatus;
        private boolean ending;
        private volatile boolean reported;

        Command(int id, List<String> texts) {
            this.id = id;
            this.mainClass = texts.get(1);
            this.input = new ByteArrayInputStream(texts.get(2).getBytes(StandardCharsets.UTF_8));
            this.arguments = texts.subList(3, texts.size()).toArray(new String[0]);
            this.group = new ThreadGroup("command-" + id) {
                @Override
                public void uncaughtException(Thread thread, Throwable problem) {
                    if (!(problem instanceof Unwinding)) {
                        printUncaught(thread, problem);
                    }
                }
            };
            COMMANDS.put(group, this);
            BY_ID.put(id, this);
        }

        void start() {
            Thread main = new Thread(group, this::run, "main");
            main.start();
            new Thread(() -> awaitEnd(main), "watch-" + id).start();
        }

        private void run() {
            URLClassLoader own = new URLClassLoader(toolJars, libraries);
            Thread.currentThread().setContextClassLoader(own);
            try {
                own.loadClass(mainClass).getMethod("main", String[].class).invoke(null, (Object) arguments);
            } catch (InvocationTargetException thrown) {
                if (!(thrown.getCause() instanceof Unwinding)) {
                    naturalStatus = 1;
                    printUncaught(Thread.currentThread(), thrown.getCause());
                }
            } catch (ReflectiveOperationException missing) {
                naturalStatus = 1;
                printUncaught(Thread.currentThread(), missing);
            }
        }

        /** A machine without exit ends when its last thread that is no daemon does. */
        private void awaitEnd(Thread main) {
            try {
                main.join();
                for (Thread other : threads()) {
                    while (!other.isDaemon() && other.isAlive() && over.getCount() > 0) {
                        other.join(50);
                    }
                }
            } catch (InterruptedException impossible) {
                throw new AssertionError(impossible);
            }
            end(naturalStatus);
        }

        void exit(int status) {
            new Thread(ROOT, () -> end(status), "exit-" + id).start();
            try {
                over.await();
            } catch (InterruptedException interrupted) {
                // the machine would be gone by now
            }
            throw new Unwinding();
        }

        void end(int status) {
            synchronized (this) {
                if (ending) {
                    return;
                }
                ending = true;
            }
            runHooks();
            System.out.flush();
            System.err.flush();
            reported = true;
            BY_ID.remove(id);
            try {
                synchronized (ANSWERS) {
                    ANSWERS.writeInt(id);
                    ANSWERS.writeInt(status);
                    for (ByteArrayOutputStream stream : List.of(output, errors)) {
                        byte[] text;
                        synchronized (stream) {
                            text = stream.toByteArray();
                        }
                        ANSWERS.writeInt(text.length);
                        ANSWERS.write(text);
                    }
                    ANSWERS.flush();
                }
            } catch (IOException gone) {
                Runtime.getRuntime().halt(1);
            }
            over.countDown();
            for (Thread left : threads()) {
                // A client's network thread does not end when interrupted: its selector only stops waiting, for ever.
                if (!left.getName().startsWith("kafka-admin-client") && !left.getName().startsWith("kafka-producer-net")) {
                    left.interrupt();
                }
            }
        }

        @SuppressWarnings("unchecked")
        private void runHooks() {
            List<Thread> mine = new ArrayList<>();
            try {
                Class<?> holder = Class.forName("java.lang.ApplicationShutdownHooks");
                Field field = holder.getDeclaredField("hooks");
                field.setAccessible(true);
                synchronized (holder) {
                    IdentityHashMap<Thread, Thread> hooks = (IdentityHashMap<Thread, Thread>) field.get(null);
                    for (Thread hook : hooks.keySet()) {
                        if (group.parentOf(hook.getThreadGroup())) {
                            mine.add(hook);
                        }
                    }
                    mine.forEach(hooks::remove);
                }
                mine.forEach(Thread::start);
                for (Thread hook : mine) {
                    hook.join(PATIENCE_MS);
                }
            } catch (ReflectiveOperationException | InterruptedException problem) {
                throw new IllegalStateException(problem);
            }
        }

        private List<Thread> threads() {
            Thread[] found = new Thread[group.activeCount() + 32];
            int count = group.enumerate(found, true);
            return new ArrayList<>(Arrays.asList(found).subList(0, count));
        }

        private void printUncaught(Thread thread, Throwable problem) {
            StringWriter text = new StringWriter();
            problem.printStackTrace(new PrintWriter(text, true));
            byte[] bytes = ("Exception in thread \"" + thread.getName() + "\" " + text).getBytes(StandardCharsets.UTF_8);
            write(false, bytes, 0, bytes.length);
        }

        void write(boolean toOutput, byte[] bytes, int offset, int length) {
            if (!reported) {
                ByteArrayOutputStream stream = toOutput ? output : errors;
                synchronized (stream) {
                    stream.write(bytes, offset, length);
                }
            }
        }
    }

    private static final class SwitchedOutput extends OutputStream {
        private final boolean isOutput;

        SwitchedOutput(boolean isOutput) {
            this.isOutput = isOutput;
        }

        @Override
        public void write(int value) {
            write(new byte[] {(byte) value}, 0, 1);
        }

        @Override
        public void write(byte[] bytes, int offset, int length) {
            Command command = current();
            if (command == null) {
                REAL_ERR.write(bytes, offset, length);
            } else {
                command.write(isOutput, bytes, offset, length);
            }
        }
    }

    private static final class SwitchedInput extends InputStream {
        @Override
        public int read() throws IOException {
            Command command = current();
            return command == null ? -1 : command.input.read();
        }

        @Override
        public int read(byte[] bytes, int offset, int length) throws IOException {
            Command command = current();
            return command == null ? -1 : command.input.read(bytes, offset, length);
        }

        @Override
        public int available() throws IOException {
            Command command = current();
            return command == null ? 0 : command.input.available();
        }
    }
}
