# Rscript client.R MODEL.onnx INPUT.bin: for each sample of the file (float32, little endian) the five likeliest classes.
paths <- commandArgs(trailingOnly = TRUE)
dyn.load(Sys.getenv("GLUEBALL_R", "./glueball_r.so"))

images <- readBin(paths[2], "numeric", file.size(paths[2]) / 4, size = 4, endian = "little")
opened <- .C("gbr_open", paths[1], handle = raw(8), error = "")
if (nchar(opened$error)) stop(opened$error)
classes <- .C("gbr_classes", opened$handle, classes = 0L)$classes
room <- length(images) * classes
answer <- .C("gbr_predict", opened$handle, images, length(images), scores = numeric(room), room, written = 0L, error = "")
if (nchar(answer$error)) stop(answer$error)
invisible(.C("gbr_close", opened$handle))

scores <- matrix(answer$scores[seq_len(answer$written)], ncol = classes, byrow = TRUE)
for (i in seq_len(nrow(scores))) {
  best <- order(-scores[i, ])[1:5]
  cat(paste(sprintf("%d %.6f", best - 1L, scores[i, best]), collapse = "  "), "\n", sep = "")
}
