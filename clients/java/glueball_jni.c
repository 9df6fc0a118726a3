/* The native methods of Glueball.java. Compile it together with ../c/glueball_predict.c; what the functions behind it
   promise is told in ../c/glueball_predict.h. */
#include "../c/glueball_predict.h"
#include <jni.h>
#include <stdlib.h>

static void complain(JNIEnv *env, const char *text)
{
    (*env)->ThrowNew(env, (*env)->FindClass(env, "java/lang/IllegalArgumentException"), text);
}

JNIEXPORT jlong JNICALL Java_Glueball_open(JNIEnv *env, jclass self, jstring path)
{
    (void)self;
    const char *text = path ? (*env)->GetStringUTFChars(env, path, NULL) : NULL;
    gb_model *model = gb_open(text, 1);
    if (text)
        (*env)->ReleaseStringUTFChars(env, path, text);
    if (!model)
        complain(env, gb_error());
    return (jlong)(intptr_t)model;
}

JNIEXPORT jint JNICALL Java_Glueball_classes(JNIEnv *env, jclass self, jlong handle)
{
    (void)self;
    int64_t shape[2] = {0, 0};
    if (gb_output_shape((gb_model *)(intptr_t)handle, shape, 2) < 0)
        complain(env, gb_error());
    return (jint)shape[1];
}

JNIEXPORT jfloatArray JNICALL Java_Glueball_predict(JNIEnv *env, jclass self, jlong handle, jfloatArray images, jint capacity)
{
    (void)self;
    jsize count = (*env)->GetArrayLength(env, images);
    jfloat *in = (*env)->GetFloatArrayElements(env, images, NULL), *out = malloc(((size_t)capacity + 1) * sizeof *out);
    int64_t written = in && out ? gb_predict((gb_model *)(intptr_t)handle, in, count, out, capacity) : -1;
    if (in)
        (*env)->ReleaseFloatArrayElements(env, images, in, JNI_ABORT);
    if (written < 0)
        complain(env, gb_error());
    jfloatArray scores = written < 0 ? NULL : (*env)->NewFloatArray(env, (jsize)written);
    if (scores)
        (*env)->SetFloatArrayRegion(env, scores, 0, (jsize)written, out);
    free(out);
    return scores;
}

JNIEXPORT void JNICALL Java_Glueball_close(JNIEnv *env, jclass self, jlong handle)
{
    (void)env;
    (void)self;
    gb_close((gb_model *)(intptr_t)handle);
}
