// node client.js MODEL.onnx INPUT.bin: for each sample of the file (float32, little endian) the five likeliest classes.
const fs = require('fs');
const ort = require('onnxruntime-node');

async function main(modelPath, inputPath) {
  const bytes = fs.readFileSync(inputPath);
  const images = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  const session = await ort.InferenceSession.create(modelPath);
  const shape = session.inputMetadata[0].shape.map((size) => (typeof size === 'number' ? size : -1));
  const fixed = shape.reduce((product, size) => (size < 0 ? product : product * size), 1);
  const dims = shape.map((size) => (size < 0 ? images.length / fixed : size));
  const { output } = await session.run({ data: new ort.Tensor('float32', images, dims) });
  const classes = output.dims[1];
  for (let start = 0; start < output.data.length; start += classes) {
    const row = Array.from(output.data.subarray(start, start + classes), (score, name) => [name, score]);
    row.sort((a, b) => b[1] - a[1]);
    console.log(row.slice(0, 5).map(([name, score]) => `${name} ${score.toFixed(6)}`).join('  '));
  }
}

main(...process.argv.slice(2)).catch((error) => { console.error(error.message); process.exit(1); });
