// client MODEL.onnx INPUT.bin: for each sample of the file (float32, little endian) the five likeliest classes.
use std::ffi::{CStr, CString};
use std::os::raw::{c_char, c_int};
use std::{env, fs, process};

#[repr(C)]
struct Opaque([u8; 0]);

extern "C" {
    fn gb_open(path: *const c_char, threads: c_int) -> *mut Opaque;
    fn gb_output_shape(model: *mut Opaque, dims: *mut i64, capacity: c_int) -> c_int;
    fn gb_predict(model: *mut Opaque, input: *const f32, count: i64, out: *mut f32, capacity: i64) -> i64;
    fn gb_error() -> *const c_char;
    fn gb_close(model: *mut Opaque);
}

struct Model(*mut Opaque);

impl Drop for Model {
    fn drop(&mut self) {
        unsafe { gb_close(self.0) }
    }
}

fn failure() -> String {
    unsafe { CStr::from_ptr(gb_error()) }.to_string_lossy().into_owned()
}

impl Model {
    fn open(path: &str) -> Result<Model, String> {
        let path = CString::new(path).map_err(|error| error.to_string())?;
        let model = unsafe { gb_open(path.as_ptr(), 1) };
        if model.is_null() { Err(failure()) } else { Ok(Model(model)) }
    }

    /// Scores, row by row, and how many belong to one sample.
    fn predict(&self, images: &[f32]) -> Result<(Vec<f32>, usize), String> {
        let mut shape = [0i64; 2];
        unsafe { gb_output_shape(self.0, shape.as_mut_ptr(), 2) };
        let mut scores = vec![0f32; images.len() * shape[1] as usize];
        let (inputs, room) = (images.len() as i64, scores.len() as i64);
        let count = unsafe { gb_predict(self.0, images.as_ptr(), inputs, scores.as_mut_ptr(), room) };
        if count < 0 {
            return Err(failure());
        }
        scores.truncate(count as usize);
        Ok((scores, shape[1] as usize))
    }
}

fn run(arguments: &[String]) -> Result<(), String> {
    let (model, input) = match arguments {
        [_, model, input] => (model, input),
        _ => return Err("usage: client MODEL.onnx INPUT.bin".into()),
    };
    let bytes = fs::read(input).map_err(|error| format!("{input}: {error}"))?;
    let images: Vec<f32> = bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    let (scores, classes) = Model::open(model)?.predict(&images)?;
    for row in scores.chunks(classes) {
        let mut order: Vec<usize> = (0..classes).collect();
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
        let best: Vec<String> = order[..5].iter().map(|&name| format!("{name} {:.6}", row[name])).collect();
        println!("{}", best.join("  "));
    }
    Ok(())
}

fn main() {
    if let Err(text) = run(&env::args().collect::<Vec<_>>()) {
        eprintln!("{text}");
        process::exit(1);
    }
}
