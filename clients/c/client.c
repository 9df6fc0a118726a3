/* client MODEL.onnx INPUT.bin: for each sample of the file (float32, little endian) the five likeliest classes. */
#include "glueball_predict.h"
#include <stdio.h>
#include <stdlib.h>

static int stop(const char *text) { return fprintf(stderr, "%s\n", text), 1; }

static float *read_floats(const char *path, int64_t *count)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END))
        return NULL;
    *count = ftell(file) / (long)sizeof(float);
    float *numbers = malloc((size_t)*count * sizeof(float) + 1);
    rewind(file);
    if (numbers && fread(numbers, sizeof(float), (size_t)*count, file) != (size_t)*count)
        *count = 0;
    fclose(file);
    return numbers;
}

int main(int argc, char **argv)
{
    int64_t shape[2], count = 0;
    if (argc != 3)
        return stop("usage: client MODEL.onnx INPUT.bin");
    float *images = read_floats(argv[2], &count);
    if (!images)
        return stop("The input cannot be read.");
    gb_model *model = gb_open(argv[1], 1);
    if (!model)
        return stop(gb_error());
    if (gb_output_shape(model, shape, 2) != 2)
        return stop("The model gives no row of scores per sample.");
    int64_t classes = shape[1], capacity = count * classes; /* a sample has at least one number */
    float *scores = malloc((size_t)capacity * sizeof(float) + 1);
    int64_t numbers = gb_predict(model, images, count, scores, capacity);
    if (numbers < 0)
        return stop(gb_error());
    for (float *row = scores; row < scores + numbers; row += classes)
        for (int place = 0; place < 5; place++) {
            int best = 0;
            for (int one = 1; one < classes; one++)
                best = row[one] > row[best] ? one : best;
            printf("%d %.6f%s", best, row[best], place < 4 ? "  " : "\n");
            row[best] = -1;
        }
    gb_close(model);
    free(scores);
    free(images);
    return 0;
}
