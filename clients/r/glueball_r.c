/* R's .C gives pointers to everything, and has no float32: this turns doubles around and keeps the handle in eight bytes.
   Compile it together with ../c/glueball_predict.c; the functions behind it are told in ../c/glueball_predict.h. */
#include "../c/glueball_predict.h"
#include <stdlib.h>
#include <string.h>

void gbr_open(char **path, unsigned char *handle, char **error)
{
    gb_model *model = gb_open(*path, 1);
    memcpy(handle, &model, sizeof model);
    *error = model ? "" : (char *)gb_error();
}

void gbr_classes(unsigned char *handle, int *classes)
{
    gb_model *model;
    int64_t shape[2] = {0, 0};
    memcpy(&model, handle, sizeof model);
    gb_output_shape(model, shape, 2);
    *classes = (int)shape[1];
}

void gbr_predict(unsigned char *handle, double *in, int *count, double *out, int *capacity, int *written, char **error)
{
    gb_model *model;
    float *numbers = malloc(((size_t)*count + 1) * sizeof(float)), *scores = malloc(((size_t)*capacity + 1) * sizeof(float));
    memcpy(&model, handle, sizeof model);
    for (int i = 0; numbers && i < *count; i++)
        numbers[i] = (float)in[i];
    *written = numbers && scores ? (int)gb_predict(model, numbers, *count, scores, *capacity) : -1;
    *error = *written < 0 ? (char *)gb_error() : "";
    for (int i = 0; i < *written; i++)
        out[i] = scores[i];
    free(numbers);
    free(scores);
}

void gbr_close(unsigned char *handle)
{
    gb_model *model;
    memcpy(&model, handle, sizeof model);
    gb_close(model);
}
