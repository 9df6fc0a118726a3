/* An exported network as a C++ object, over the flat functions of clients/c (link glueball_predict.c, -ldl -lpthread).

       glueball::Model model("digits.onnx");
       std::vector<float> scores = model(images);

   The one idea: a model owns its memory, and what goes wrong is an exception that says what was expected. One model may
   be called from several threads at once. C++11. Not here: what is behind it (glueball_predict.h). */
#ifndef GLUEBALL_PREDICT_HPP
#define GLUEBALL_PREDICT_HPP
#include "glueball_predict.h"
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace glueball {

class Error : public std::runtime_error {
public:
    Error() : std::runtime_error(gb_error()) {}
};

class Model {
public:
    /* Read a model; `threads` limits the threads of one run, 0: the library chooses. */
    explicit Model(const std::string &path, int threads = 0) : model(gb_open(path.c_str(), threads), gb_close)
    {
        if (!model)
            throw Error();
    }

    /* Sizes of the axes; an open one is -1. */
    std::vector<int64_t> input_shape() const { return shape(gb_input_shape); }
    std::vector<int64_t> output_shape() const { return shape(gb_output_shape); }

    /* Run on whole samples in row-major order; the open axis, if any, follows from how many numbers there are. */
    std::vector<float> operator()(const std::vector<float> &input) const
    {
        return collect([&](float *out, int64_t room) {
            return gb_predict(model.get(), input.data(), static_cast<int64_t>(input.size()), out, room);
        }, input.size());
    }

    /* Run on an input of the given sizes. */
    std::vector<float> operator()(const std::vector<float> &input, const std::vector<int64_t> &dims) const
    {
        int64_t count = 1;
        for (int64_t size : dims)
            count *= size;
        if (count != static_cast<int64_t>(input.size()))
            throw std::invalid_argument("glueball::Model: The sizes do not fit the data.\n  Expected: " +
                                        std::to_string(count) + " numbers\n  Received: " + std::to_string(input.size()));
        return collect([&](float *out, int64_t room) {
            return gb_run(model.get(), input.data(), dims.data(), static_cast<int>(dims.size()), out, room);
        }, input.size());
    }

private:
    std::shared_ptr<gb_model> model;

    std::vector<int64_t> shape(int (*read)(gb_model *, int64_t *, int)) const
    {
        std::vector<int64_t> dims(static_cast<size_t>(read(model.get(), nullptr, 0)));
        read(model.get(), dims.data(), static_cast<int>(dims.size()));
        return dims;
    }

    /* Room for the output: its fixed sizes, and for each open one no more than the input has numbers. */
    template <class Run> std::vector<float> collect(Run run, size_t most) const
    {
        size_t room = 1;
        for (int64_t size : output_shape())
            room *= size < 0 ? most : static_cast<size_t>(size);
        std::vector<float> output(room);
        int64_t count = run(output.data(), static_cast<int64_t>(room));
        if (count < 0)
            throw Error();
        output.resize(static_cast<size_t>(count));
        return output;
    }
};

} // namespace glueball
#endif
