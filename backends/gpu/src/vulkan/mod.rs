//! Devices of Vulkan, whose loader is looked for when it is asked for.

mod choose;
mod instance;
mod memory;
mod pace;
mod work;

use crate::launch::{Device, Grid};
use crate::plan::{Plan, Turn, VULKAN};
use ash::vk;
use instance::Gpu;
use memory::{Room, Use};
use nc_ir::Diagnostic;
use pace::Pace;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::sync::Arc;
use std::time::Instant;
use work::{WORDS, Way, hand_over};

/// Threads of a block that a device must run.
pub const THREADS: u32 = 512;

/// Bytes that the threads of a block must be able to share: programs of up to 1024 parts share no more.
pub const SHARED_BYTES: u32 = 32 << 10;

/// What SPIR-V begins with.
const MAGIC: u32 = 0x0723_0203;

/// Most bytes that pass through memory that both see at a time.
const PASS: u64 = 8 << 20;

/// Bytes up to which this processor reads and clears memory itself, though it is slow at it.
const FEW: u64 = 4 << 10;

/// The words of SPIR-V, if bytes are whole words and begin like it.
pub(crate) fn words(code: &[u8]) -> Option<Vec<u32>> {
    let (words, rest) = code.as_chunks::<4>();
    let words: Vec<u32> = words.iter().map(|w| u32::from_le_bytes(*w)).collect();
    (rest.is_empty() && words.first() == Some(&MAGIC)).then_some(words)
}

/// What a call said, by Vulkan's own names.
fn said(call: &str, result: impl std::fmt::Debug) -> String {
    format!("{call}: VK_{result:?}")
}

/// A device of Vulkan, with the code of a plan once [`Vulkan::take`] has made it a pipeline.
pub struct Vulkan {
    rooms: BTreeMap<u64, Room>,
    /// What bytes pass through to memory that this processor does not see, or does not read fast.
    passing: Option<Room>,
    /// Let all bytes pass through, as where this processor sees none of the device's memory.
    staged: bool,
    code: Option<Code>,
    commands: Commands,
    pace: Pace,
    gpu: Arc<Gpu>,
}

// SAFETY: handles may be used from any thread, by one at a time; what is mapped is this value's own.
unsafe impl Send for Vulkan {}

/// A program on the device.
#[derive(Default)]
struct Code {
    layout: vk::PipelineLayout,
    /// One for each entry.
    pipelines: Vec<vk::Pipeline>,
    /// The order of the entries in a tick, where there are several.
    order: Option<Vec<Turn>>,
    /// Whether it notes loops that ended early.
    careful: bool,
}

/// Which argument is the address of the word where loops that ended early are noted.
const NOTED: usize = 3;

/// Most blocks of a dispatch that every device takes.
const MOST_BLOCKS: u64 = 65535;

/// What work is handed over with. Null where nothing was made.
#[derive(Clone, Copy, Default)]
struct Commands {
    pool: vk::CommandPool,
    buffer: vk::CommandBuffer,
    fence: vk::Fence,
    /// When work began and when it ended.
    queries: vk::QueryPool,
}

impl Vulkan {
    /// The device whose name has this part, or the first that is not software: discrete before integrated before virtual.
    ///
    /// Letters of either case are the same. The name of software must have the part itself, without what [`Device::name`]
    /// adds to it.
    ///
    /// # Errors
    /// E0870 with what was found and what that lacks; E0871 if the device fails.
    pub fn open(wanted: Option<&str>) -> Result<Vulkan, Diagnostic> {
        Vulkan::on(Arc::new(Gpu::open(wanted)?))
    }

    /// The same device once more, without code and memory.
    ///
    /// # Errors
    /// E0871 if the device fails.
    pub fn again(&self) -> Result<Vulkan, Diagnostic> {
        Vulkan::on(self.gpu.clone())
    }

    fn on(gpu: Arc<Gpu>) -> Result<Vulkan, Diagnostic> {
        let (rooms, commands, pace) = (BTreeMap::new(), Commands::default(), Pace::default());
        let mut this = Vulkan { rooms, passing: None, staged: false, code: None, commands, pace, gpu };
        this.prepare().map_err(|e| this.failed(&e))?;
        Ok(this)
    }

    /// What tells the device, and the build of its driver, from others.
    pub fn identity(&self) -> &str {
        &self.gpu.identity
    }

    /// Lets this processor see none of the memory that is allocated from now on, for tests of what is then done.
    #[doc(hidden)]
    pub fn stage(&mut self) {
        self.staged = true;
    }

    fn failed(&self, e: &str) -> Diagnostic {
        Diagnostic::error_nowhere("E0871", format!("{}: {e}", self.gpu.name))
    }

    fn prepare(&mut self) -> Result<(), String> {
        let (d, c) = (&self.gpu.device, &mut self.commands);
        let pool = vk::CommandPoolCreateInfo::default()
            .flags(vk::CommandPoolCreateFlags::RESET_COMMAND_BUFFER)
            .queue_family_index(self.gpu.family);
        // SAFETY: the structures are whole and live through the calls; `drop` destroys what was made.
        unsafe {
            c.pool = d.create_command_pool(&pool, None).map_err(|e| said("vkCreateCommandPool", e))?;
            let one = vk::CommandBufferAllocateInfo::default().command_pool(c.pool).command_buffer_count(1);
            let made = d.allocate_command_buffers(&one).map_err(|e| said("vkAllocateCommandBuffers", e))?;
            c.buffer = made.first().copied().unwrap_or_default();
            let fence = vk::FenceCreateInfo::default();
            c.fence = d.create_fence(&fence, None).map_err(|e| said("vkCreateFence", e))?;
            if self.gpu.clock.is_some() {
                let two = vk::QueryPoolCreateInfo::default().query_type(vk::QueryType::TIMESTAMP).query_count(2);
                c.queries = d.create_query_pool(&two, None).map_err(|e| said("vkCreateQueryPool", e))?;
            }
        }
        Ok(())
    }

    /// Makes pipelines of the code of a plan for one of [`VULKAN`]: words of SPIR-V, the least byte first.
    ///
    /// # Errors
    /// E0873 for a plan of several parts without a course, whose blocks would wait for each other. E0871 for what is no
    /// SPIR-V, and with what the driver says.
    pub fn take(&mut self, plan: &Plan, arch: &str, code: &[u8]) -> Result<(), Diagnostic> {
        if plan.parts != 1 && plan.course.is_none() {
            let text = format!(
                "a sample has {} blocks, values decide which kernels they run, and blocks cannot wait for each other on {}",
                plan.parts, self.gpu.name
            );
            return Err(Diagnostic::error_nowhere("E0873", text).with_hint("compile with --blocks 1"));
        }
        self.load(plan, arch, code).map_err(|e| self.failed(&e))
    }

    fn load(&mut self, plan: &Plan, arch: &str, code: &[u8]) -> Result<(), String> {
        let words = words(code).ok_or("code that is not words of SPIR-V")?;
        if !VULKAN.contains(&arch) {
            return Err(format!("code for {arch}"));
        }
        if plan.threads > self.gpu.threads {
            return Err(format!("blocks of {} threads, where {} is the most", plan.threads, self.gpu.threads));
        }
        self.unload();
        let gpu = self.gpu.clone();
        let d = &gpu.device;
        let careful = arch == VULKAN[0];
        let course = plan.course.as_ref().filter(|_| plan.parts > 1 || careful);
        let entries = course.map_or(std::slice::from_ref(&plan.symbol), |c| &c.entries);
        let range = [vk::PushConstantRange::default().stage_flags(vk::ShaderStageFlags::COMPUTE).size(choose::PUSHED)];
        let layout = vk::PipelineLayoutCreateInfo::default().push_constant_ranges(&range);
        let module = vk::ShaderModuleCreateInfo::default().code(&words);
        let order = course.map(|c| c.order.clone());
        // SAFETY: the structures live through the calls. `unload` destroys layout and pipelines; the module is not needed
        // once they are made.
        unsafe {
            let layout = d.create_pipeline_layout(&layout, None).map_err(|e| said("vkCreatePipelineLayout", e))?;
            let made = self.code.insert(Code { layout, pipelines: Vec::new(), order, careful });
            let module = d.create_shader_module(&module, None).map_err(|e| said("vkCreateShaderModule", e))?;
            for entry in entries {
                let done = pipeline(d, (module, layout), entry).map(|p| made.pipelines.push(p));
                if let Err(e) = done {
                    d.destroy_shader_module(module, None);
                    self.unload();
                    return Err(e);
                }
            }
            d.destroy_shader_module(module, None);
        }
        self.pace = Pace::default();
        Ok(())
    }

    /// Destroys the code.
    fn unload(&mut self) {
        if let Some(code) = self.code.take() {
            // SAFETY: nothing runs: every call waits for the end of what it began. Null is nothing to destroy.
            unsafe {
                code.pipelines.iter().for_each(|p| self.gpu.device.destroy_pipeline(*p, None));
                self.gpu.device.destroy_pipeline_layout(code.layout, None);
            }
        }
    }

    /// Runs commands after all that was done before, and waits for their end. Seconds that they took by the device's clock.
    ///
    /// # Safety
    /// What `record` records is valid, and what it works on is allocated.
    unsafe fn run(&self, record: impl FnOnce(&ash::Device, vk::CommandBuffer)) -> Result<Option<f64>, String> {
        let (d, c) = (&self.gpu.device, self.commands);
        let clock = self.gpu.clock;
        let all = vk::PipelineStageFlags::ALL_COMMANDS;
        let (written, any) =
            (vk::AccessFlags::MEMORY_WRITE, vk::AccessFlags::MEMORY_READ | vk::AccessFlags::MEMORY_WRITE);
        let before = [vk::MemoryBarrier::default().src_access_mask(written).dst_access_mask(any)];
        let after =
            [vk::MemoryBarrier::default().src_access_mask(written).dst_access_mask(any | vk::AccessFlags::HOST_READ)];
        let none = vk::DependencyFlags::empty();
        let begin = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        let mut ticks = [0u64; 2];
        // SAFETY: the commands are this value's, nothing of them runs, and they are recorded as their order demands. The
        // caller's promise covers the rest.
        unsafe {
            d.begin_command_buffer(c.buffer, &begin).map_err(|e| said("vkBeginCommandBuffer", e))?;
            if clock.is_some() {
                d.cmd_reset_query_pool(c.buffer, c.queries, 0, 2);
            }
            d.cmd_pipeline_barrier(c.buffer, all, all, none, &before, &[], &[]);
            if clock.is_some() {
                d.cmd_write_timestamp(c.buffer, all, c.queries, 0);
            }
            record(d, c.buffer);
            if clock.is_some() {
                d.cmd_write_timestamp(c.buffer, all, c.queries, 1);
            }
            d.cmd_pipeline_barrier(c.buffer, all, all | vk::PipelineStageFlags::HOST, none, &after, &[], &[]);
            d.end_command_buffer(c.buffer).map_err(|e| said("vkEndCommandBuffer", e))?;
            self.gpu.submit(c.buffer, c.fence)?;
            let fences = [c.fence];
            d.wait_for_fences(&fences, true, u64::MAX).map_err(|e| said("vkWaitForFences", e))?;
            d.reset_fences(&fences).map_err(|e| said("vkResetFences", e))?;
            if clock.is_some() {
                let flags = vk::QueryResultFlags::TYPE_64 | vk::QueryResultFlags::WAIT;
                d.get_query_pool_results(c.queries, 0, &mut ticks, flags)
                    .map_err(|e| said("vkGetQueryPoolResults", e))?;
            }
        }
        Ok(clock.map(|c| (ticks[1].wrapping_sub(ticks[0]) & c.mask) as f64 * c.period))
    }

    /// The memory that holds so many bytes from an address on, and where in it they begin.
    fn find(&self, at: u64, bytes: u64) -> Result<(&Room, u64), String> {
        let found = self.rooms.range(..=at).next_back().map(|(begin, room)| (room, at - begin));
        let inside = |(room, offset): &(&Room, u64)| offset.checked_add(bytes).is_some_and(|end| end <= room.bytes);
        found.filter(inside).ok_or_else(|| format!("{bytes} bytes at {at:#x} are not allocated"))
    }

    /// Memory that bytes pass through.
    fn passing(&mut self) -> Result<(vk::Buffer, *mut u8), String> {
        if self.passing.is_none() {
            self.passing = Some(self.gpu.room(PASS, Use::Passing)?);
        }
        match &self.passing {
            Some(room) if !room.mapped.is_null() => Ok((room.buffer, room.mapped)),
            _ => Err("no memory that bytes could pass through".to_owned()),
        }
    }

    /// Pieces of so many bytes that pass at a time, each where it begins and its length.
    fn pieces(bytes: u64) -> impl Iterator<Item = (u64, u64)> {
        (0..bytes.div_ceil(PASS)).map(move |n| (n * PASS, PASS.min(bytes - n * PASS)))
    }
}

impl Drop for Vulkan {
    fn drop(&mut self) {
        self.unload();
        for room in self.rooms.values().chain(&self.passing) {
            self.gpu.release(room);
        }
        let (d, c) = (&self.gpu.device, self.commands);
        // SAFETY: nothing runs; null is nothing to destroy. The pool takes its commands with it.
        unsafe {
            d.destroy_query_pool(c.queries, None);
            d.destroy_fence(c.fence, None);
            d.destroy_command_pool(c.pool, None);
        }
    }
}

impl Device for Vulkan {
    fn name(&self) -> String {
        self.gpu.name.clone()
    }

    /// As many as a dispatch may have: blocks do not wait for each other.
    fn resident(&mut self, _threads: u32) -> Result<u64, String> {
        Ok(MOST_BLOCKS)
    }

    fn allocate(&mut self, bytes: u64) -> Result<u64, String> {
        let room = self.gpu.room(bytes.max(1), Use::Kernels { staged: self.staged })?;
        let at = room.at;
        self.rooms.insert(at, room);
        Ok(at)
    }

    fn release(&mut self, at: u64) {
        if let Some(room) = self.rooms.remove(&at) {
            self.gpu.release(&room);
        }
    }

    unsafe fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), String> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (room, offset) = self.find(at, bytes.len() as u64)?;
        if !room.mapped.is_null() {
            // SAFETY: so many bytes lie there, mapped as long as the room is; nothing runs on the device.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), room.mapped.add(offset as usize), bytes.len()) };
            return Ok(());
        }
        let to = room.buffer;
        let (from, mapped) = self.passing()?;
        for (begin, size) in Vulkan::pieces(bytes.len() as u64) {
            let piece = &bytes[begin as usize..(begin + size) as usize];
            let copy = [vk::BufferCopy { src_offset: 0, dst_offset: offset + begin, size }];
            // SAFETY: a piece fits into what it passes through, and all of them into what they go to.
            unsafe {
                std::ptr::copy_nonoverlapping(piece.as_ptr(), mapped, piece.len());
                self.run(|d, c| d.cmd_copy_buffer(c, from, to, &copy))?;
            }
        }
        Ok(())
    }

    unsafe fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), String> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (room, offset) = self.find(at, bytes.len() as u64)?;
        if !room.mapped.is_null() && (room.cached || bytes.len() as u64 <= FEW) {
            // SAFETY: as for `write`.
            unsafe {
                std::ptr::copy_nonoverlapping(room.mapped.add(offset as usize), bytes.as_mut_ptr(), bytes.len());
            }
            return Ok(());
        }
        let from = room.buffer;
        let (to, mapped) = self.passing()?;
        for (begin, size) in Vulkan::pieces(bytes.len() as u64) {
            let piece = &mut bytes[begin as usize..(begin + size) as usize];
            let copy = [vk::BufferCopy { src_offset: offset + begin, dst_offset: 0, size }];
            // SAFETY: as for `write`.
            unsafe {
                self.run(|d, c| d.cmd_copy_buffer(c, from, to, &copy))?;
                std::ptr::copy_nonoverlapping(mapped, piece.as_mut_ptr(), piece.len());
            }
        }
        Ok(())
    }

    unsafe fn zero(&mut self, at: u64, bytes: u64) -> Result<(), String> {
        if bytes == 0 {
            return Ok(());
        }
        let (room, offset) = self.find(at, bytes)?;
        if !room.mapped.is_null() && (room.cached || bytes <= FEW) {
            // SAFETY: as for `write`.
            unsafe { std::ptr::write_bytes(room.mapped.add(offset as usize), 0, bytes as usize) };
            return Ok(());
        }
        // Words by the device, what is left by this processor.
        let buffer = room.buffer;
        let begin = offset.next_multiple_of(4).min(offset + bytes);
        let end = ((offset + bytes) / 4 * 4).max(begin);
        let rest = [0; 4];
        // SAFETY: all of this is inside of what the caller named.
        unsafe {
            self.write(at, &rest[..(begin - offset) as usize])?;
            if end > begin {
                self.run(|d, c| d.cmd_fill_buffer(c, buffer, begin, end - begin, 0))?;
            }
            self.write(at + (end - offset), &rest[..(offset + bytes - end) as usize])
        }
    }

    unsafe fn launch(&mut self, grid: Grid, arguments: &[u64]) -> Result<Option<f64>, String> {
        let words: [u64; WORDS] = arguments.try_into().map_err(|_| "arguments of another program".to_owned())?;
        let code = self.code.as_ref().ok_or("no code is loaded")?;
        let mut seconds = self.gpu.clock.map(|_| 0.0);
        let mut pace = self.pace;
        let way = match &code.order {
            Some(order) => Way::Phases(order),
            None if code.careful => Way::Apart,
            None => Way::Together,
        };
        let some = vk::AccessFlags::SHADER_READ | vk::AccessFlags::SHADER_WRITE;
        let between =
            [vk::MemoryBarrier::default().src_access_mask(vk::AccessFlags::SHADER_WRITE).dst_access_mask(some)];
        let (stage, none) = (vk::PipelineStageFlags::COMPUTE_SHADER, vk::DependencyFlags::empty());
        let mut submit = |all: &[work::Dispatch], blocks: u32| {
            let begun = Instant::now();
            let pipeline = |entry: usize| code.pipelines.get(entry).copied().ok_or("a phase without code");
            let pipelines = all.iter().map(|d| pipeline(d.entry)).collect::<Result<Vec<_>, _>>()?;
            // SAFETY: pipelines take the arguments of a launch and iterations, which the caller promises are right.
            let took = unsafe {
                self.run(|d, c| {
                    for (n, (work, pipeline)) in all.iter().zip(pipelines).enumerate() {
                        if n > 0 {
                            d.cmd_pipeline_barrier(c, stage, stage, none, &between, &[], &[]);
                        }
                        let bytes: Vec<u8> = work.words.iter().flat_map(|w| w.to_le_bytes()).collect();
                        d.cmd_bind_pipeline(c, vk::PipelineBindPoint::COMPUTE, pipeline);
                        d.cmd_push_constants(c, code.layout, vk::ShaderStageFlags::COMPUTE, 0, &bytes);
                        d.cmd_dispatch(c, blocks, 1, 1);
                    }
                })?
            };
            seconds = seconds.zip(took).map(|(sum, s)| sum + s);
            Ok(begun.elapsed().as_secs_f64())
        };
        hand_over(way, (grid, words), &mut pace, &mut submit)?;
        let careful = code.careful;
        self.pace = pace;
        if careful {
            let (mut noted, at) = ([0; 4], words[NOTED]);
            // SAFETY: the caller's promise: a word lies there.
            unsafe {
                self.read(at, &mut noted)?;
                if noted != [0; 4] {
                    self.zero(at, 4)?;
                    return Err(
                        "a loop ended before its end, since the device runs only so many iterations in a dispatch; \
                                more blocks to a sample (--blocks N) have fewer each"
                            .to_owned(),
                    );
                }
            }
        }
        Ok(seconds)
    }
}

/// The pipeline of an entry of a module.
///
/// # Safety
/// Module and layout are the device's.
unsafe fn pipeline(
    d: &ash::Device,
    (module, layout): (vk::ShaderModule, vk::PipelineLayout),
    entry: &str,
) -> Result<vk::Pipeline, String> {
    let name = CString::new(entry).map_err(|_| "a name with a zero byte".to_owned())?;
    let stage =
        vk::PipelineShaderStageCreateInfo::default().stage(vk::ShaderStageFlags::COMPUTE).module(module).name(&name);
    let info = [vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout)];
    // SAFETY: the caller's promise; the structures live through the call.
    let made = unsafe { d.create_compute_pipelines(vk::PipelineCache::null(), &info, None) };
    let made = made.map_err(|(_, e)| said("vkCreateComputePipelines", e))?;
    Ok(made.first().copied().unwrap_or_default())
}
