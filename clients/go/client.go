// client MODEL.onnx INPUT.bin: for each sample of the file (float32, little endian) the five likeliest classes.
package main

// #include "../c/glueball_predict.h"
// #include <stdlib.h>
// #cgo LDFLAGS: -lglueball_predict
import "C"

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"sort"
	"strings"
	"unsafe"
)

func stop(problem string) {
	fmt.Fprintln(os.Stderr, problem)
	os.Exit(1)
}

func main() {
	if len(os.Args) != 3 {
		stop("usage: client MODEL.onnx INPUT.bin")
	}
	runtime.LockOSThread() // errors are kept per thread
	raw, err := os.ReadFile(os.Args[2])
	if err != nil || len(raw) < 4 {
		stop("The input cannot be read.")
	}
	images := make([]float32, len(raw)/4)
	binary.Read(bytes.NewReader(raw), binary.LittleEndian, images)

	path := C.CString(os.Args[1])
	defer C.free(unsafe.Pointer(path))
	model := C.gb_open(path, 1)
	if model == nil {
		stop(C.GoString(C.gb_error()))
	}
	defer C.gb_close(model)
	var shape [2]C.int64_t
	C.gb_output_shape(model, &shape[0], 2)
	classes := int(shape[1])
	scores := make([]float32, len(images)*classes)
	count := C.gb_predict(model, (*C.float)(&images[0]), C.int64_t(len(images)), (*C.float)(&scores[0]), C.int64_t(len(scores)))
	if count < 0 {
		stop(C.GoString(C.gb_error()))
	}

	for row := scores[:count]; len(row) > 0; row = row[classes:] {
		order := make([]int, classes)
		for name := range order {
			order[name] = name
		}
		sort.SliceStable(order, func(a, b int) bool { return row[order[a]] > row[order[b]] })
		best := make([]string, 5)
		for place := range best {
			best[place] = fmt.Sprintf("%d %.6f", order[place], row[order[place]])
		}
		fmt.Println(strings.Join(best, "  "))
	}
}
