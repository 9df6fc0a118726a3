-- luajit client.lua MODEL.onnx INPUT.bin: for each sample of the file (float32, little endian) the five likeliest classes.
local ffi = require('ffi')
ffi.cdef [[
typedef struct gb_model gb_model;
gb_model *gb_open(const char *path, int threads);
int gb_output_shape(gb_model *model, int64_t *dims, int capacity);
int64_t gb_predict(gb_model *model, const float *in, int64_t count, float *out, int64_t capacity);
const char *gb_error(void);
void gb_close(gb_model *model);
]]
local glueball = ffi.load(os.getenv('GLUEBALL_PREDICT') or 'libglueball_predict.so')
local function stop() io.stderr:write(ffi.string(glueball.gb_error()), '\n') os.exit(1) end

local bytes = assert(io.open(arg[2], 'rb')):read('*a')
local images = ffi.new('float[?]', #bytes / 4 + 1)
ffi.copy(images, bytes, #bytes)
local model = glueball.gb_open(arg[1], 1)
if model == nil then stop() end
model = ffi.gc(model, glueball.gb_close)
local shape = ffi.new('int64_t[2]')
glueball.gb_output_shape(model, shape, 2)
local classes = tonumber(shape[1])
local capacity = #bytes / 4 * classes
local scores = ffi.new('float[?]', capacity + 1)
local count = tonumber(glueball.gb_predict(model, images, #bytes / 4, scores, capacity))
if count < 0 then stop() end

for start = 0, count - 1, classes do
  local order, text = {}, {}
  for name = 0, classes - 1 do order[name + 1] = name end
  table.sort(order, function(a, b)
    local x, y = scores[start + a], scores[start + b]
    return x > y or x == y and a < b
  end)
  for place = 1, 5 do text[place] = string.format('%d %.6f', order[place], scores[start + order[place]]) end
  print(table.concat(text, '  '))
end
