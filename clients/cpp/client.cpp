// client MODEL.onnx INPUT.bin: for each sample of the file (float32, little endian) the five likeliest classes.
#include "glueball_predict.hpp"
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <numeric>

int main(int argc, char **argv)
try {
    if (argc != 3)
        throw std::invalid_argument("usage: client MODEL.onnx INPUT.bin");
    std::ifstream file(argv[2], std::ios::binary);
    std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    std::vector<float> images(bytes.size() / sizeof(float));
    std::copy_n(bytes.data(), images.size() * sizeof(float), reinterpret_cast<char *>(images.data()));

    glueball::Model model(argv[1], 1);
    std::vector<float> scores = model(images);
    size_t classes = static_cast<size_t>(model.output_shape().at(1));
    for (auto row = scores.begin(); row != scores.end(); row += static_cast<std::ptrdiff_t>(classes)) {
        std::vector<int> order(classes);
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return row[a] > row[b]; });
        for (int place = 0; place < 5; place++)
            std::printf("%d %.6f%s", order[place], row[order[place]], place < 4 ? "  " : "\n");
    }
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
