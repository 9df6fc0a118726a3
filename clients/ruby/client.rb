# ruby client.rb MODEL.onnx INPUT.bin: for each sample of the file (float32, little endian) the five likeliest classes.
require 'fiddle/import'

module Glueball
  extend Fiddle::Importer
  dlload ENV.fetch('GLUEBALL_PREDICT', 'libglueball_predict.so')
  extern 'void *gb_open(const char *, int)'
  extern 'int gb_output_shape(void *, void *, int)'
  extern 'long long gb_predict(void *, void *, long long, void *, long long)'
  extern 'char *gb_error()'
  extern 'void gb_close(void *)'
end

model_path, input_path = ARGV
images = File.binread(input_path)
model = Glueball.gb_open(model_path, 1)
abort Glueball.gb_error.to_s if model.null?
shape = "\0" * 16
Glueball.gb_output_shape(model, shape, 2)
classes = shape.unpack('q2')[1]
capacity = images.bytesize / 4 * classes
out = "\0" * (4 * capacity)
count = Glueball.gb_predict(model, images, images.bytesize / 4, out, capacity)
abort Glueball.gb_error.to_s if count.negative?
Glueball.gb_close(model)

out.unpack("e#{count}").each_slice(classes) do |row|
  best = row.each_index.sort_by { |name| [-row[name], name] }.first(5)
  puts best.map { |name| format('%d %.6f', name, row[name]) }.join('  ')
end
