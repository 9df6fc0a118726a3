// scala Client MODEL.onnx INPUT.bin: for each sample of the file (float32, little endian) the five likeliest classes.
object Client {
  def main(paths: Array[String]): Unit = {
    val model = new Glueball(paths(0)) // ../java/Glueball.java
    try {
      val scores = model.predict(Glueball.read(paths(1)))
      for (row <- scores.grouped(model.classes)) {
        val best = row.zipWithIndex.sortBy(-_._1).take(5)
        println(best.map { case (score, name) => "%d %.6f".formatLocal(java.util.Locale.ROOT, name, score) }.mkString("  "))
      }
    } finally model.close()
  }
}
