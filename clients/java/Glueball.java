// java Glueball MODEL.onnx INPUT.bin: for each sample of the file (float32, little endian) the five likeliest classes.
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** An exported network, over glueball_jni.c; one model may be called from several threads at once. */
public final class Glueball implements AutoCloseable {
    static {
        System.load(Paths.get(System.getenv().getOrDefault("GLUEBALL_JNI", "libglueball_jni.so")).toAbsolutePath().toString());
    }

    private static native long open(String path);
    private static native int classes(long handle);
    private static native float[] predict(long handle, float[] images, int capacity);
    private static native void close(long handle);

    private final long handle;

    /** Reads a model. What goes wrong here or later is an IllegalArgumentException. */
    public Glueball(String path) {
        handle = open(path);
    }

    /** How many scores belong to one sample. */
    public int classes() {
        return classes(handle);
    }

    /** The scores of whole samples, row by row. */
    public float[] predict(float[] images) {
        return predict(handle, images, images.length * classes());
    }

    @Override
    public void close() {
        close(handle);
    }

    /** Raw float32, little endian. */
    public static float[] read(String path) throws java.io.IOException {
        ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(Paths.get(path))).order(ByteOrder.LITTLE_ENDIAN);
        float[] numbers = new float[bytes.remaining() / 4];
        bytes.asFloatBuffer().get(numbers);
        return numbers;
    }

    /** The five likeliest classes of each sample, a line each. */
    public static List<String> best(float[] scores, int classes) {
        List<String> lines = new ArrayList<>();
        for (int start = 0; start < scores.length; start += classes) {
            int row = start;
            lines.add(IntStream.range(0, classes).boxed()
                .sorted((a, b) -> Float.compare(scores[row + b], scores[row + a])).limit(5)
                .map(name -> String.format(Locale.ROOT, "%d %.6f", name, scores[row + name])).collect(Collectors.joining("  ")));
        }
        return lines;
    }

    public static void main(String[] paths) throws java.io.IOException {
        try (Glueball model = new Glueball(paths[0])) {
            best(model.predict(read(paths[1])), model.classes()).forEach(System.out::println);
        } catch (IllegalArgumentException error) {
            System.err.println(error.getMessage());
            System.exit(1);
        }
    }
}
