// Draws one image, in Rust without crates, and writes it as a PPM file:  one_image_rust BUNDLE SEED OUT.ppm
use std::ffi::{c_char, c_int, c_void, CStr, CString};
use std::io::Write;
use std::ptr::{null, null_mut};

/// `ll_sample_params` of latentloop.h. All zeros but `size` and `count` are the defaults.
#[repr(C)]
struct SampleParams {
    size: u32,
    count: i64,
    seed: u64,
    seeds: *const u64,
    labels: *const i64,
    temperature: *const f32,
    top_p: *const f32,
    min_p: *const f32,
    top_k: *const i64,
    given: *const *const i64,
    batch: i64,
    progress: Option<extern "C" fn(*const c_void, *mut c_void) -> c_int>,
    user: *mut c_void,
}

#[link(name = "latentloop")]
extern "C" {
    fn ll_last_error() -> *const c_char;
    fn ll_bundle_open(directory: *const c_char, out: *mut *mut c_void) -> c_int;
    fn ll_bundle_close(bundle: *mut c_void);
    fn ll_bundle_image(bundle: *const c_void, height: *mut i32, width: *mut i32, channels: *mut i32) -> c_int;
    fn ll_sampler_create(bundle: *mut c_void, params: *const c_void, out: *mut *mut c_void) -> c_int;
    fn ll_sampler_destroy(sampler: *mut c_void);
    fn ll_sample(
        sampler: *mut c_void,
        params: *const SampleParams,
        images: *mut u8,
        images_bytes: usize,
        codes: *const *mut i64,
        finished: *mut i64,
    ) -> c_int;
}

fn check(status: c_int) -> Result<(), String> {
    match status {
        0 => Ok(()),
        _ => Err(unsafe { CStr::from_ptr(ll_last_error()) }.to_string_lossy().into_owned()),
    }
}

/// Returns the pixels [height, width, channels] of the image of a seed, and these sizes.
fn draw(folder: &str, seed: u64) -> Result<(Vec<u8>, [i32; 3]), String> {
    let folder = CString::new(folder).map_err(|error| error.to_string())?;
    let (mut bundle, mut sampler, [mut height, mut width, mut channels]) = (null_mut(), null_mut(), [0; 3]);
    unsafe {
        check(ll_bundle_open(folder.as_ptr(), &mut bundle))?;
        check(ll_bundle_image(bundle, &mut height, &mut width, &mut channels))?;
        let created = check(ll_sampler_create(bundle, null(), &mut sampler));
        ll_bundle_close(bundle); // the sampler keeps what it needs
        created?;
        let mut params: SampleParams = std::mem::zeroed();
        params.size = std::mem::size_of::<SampleParams>() as u32;
        params.count = 1;
        params.seed = seed;
        let mut image = vec![0; (height * width * channels) as usize];
        let drawn = check(ll_sample(sampler, &params, image.as_mut_ptr(), image.len(), null(), null_mut()));
        ll_sampler_destroy(sampler);
        drawn.map(|_| (image, [height, width, channels]))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, seed, out] = arguments.as_slice() else {
        return Err("usage: one_image_rust BUNDLE SEED OUT.ppm".into());
    };
    let (image, [height, width, channels]) = draw(folder, seed.parse()?)?;
    let mut file = std::fs::File::create(out)?;
    write!(file, "P{} {width} {height} 255\n", if channels == 1 { 5 } else { 6 })?;
    file.write_all(&image)?;
    Ok(())
}
