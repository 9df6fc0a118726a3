<?php
// php client.php MODEL.onnx INPUT.bin: for each sample of the file (float32, little endian) the five likeliest classes.
$glueball = FFI::cdef('
    typedef struct gb_model gb_model;
    gb_model *gb_open(const char *path, int threads);
    int gb_output_shape(gb_model *model, int64_t *dims, int capacity);
    int64_t gb_predict(gb_model *model, const float *in, int64_t count, float *out, int64_t capacity);
    const char *gb_error(void);
    void gb_close(gb_model *model);
', getenv('GLUEBALL_PREDICT') ?: 'libglueball_predict.so');

function stop(string $problem): never
{
    fwrite(STDERR, "$problem\n");
    exit(1);
}

$bytes = file_get_contents($argv[2]);
$given = intdiv(strlen($bytes), 4);
$images = $glueball->new("float[$given]");
FFI::memcpy($images, $bytes, 4 * $given);
$model = $glueball->gb_open($argv[1], 1) ?? stop($glueball->gb_error());
$shape = $glueball->new('int64_t[2]');
$glueball->gb_output_shape($model, $shape, 2);
$classes = $shape[1];
$capacity = $given * $classes;
$scores = $glueball->new("float[$capacity]");
$count = $glueball->gb_predict($model, $images, $given, $scores, $capacity);
if ($count < 0) {
    stop($glueball->gb_error());
}
$glueball->gb_close($model);

for ($start = 0; $start < $count; $start += $classes) {
    $row = [];
    for ($name = 0; $name < $classes; $name++) {
        $row[$name] = $scores[$start + $name];
    }
    arsort($row); // stable since PHP 8
    $best = array_slice($row, 0, 5, true);
    echo implode('  ', array_map(fn ($name, $score) => sprintf('%d %.6f', $name, $score), array_keys($best), $best)), "\n";
}
