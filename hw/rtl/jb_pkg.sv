// Written by `python -m joulebit.spec.generate`: change sim/joulebit/spec/accelerator.py.
`default_nettype none

/* verilator lint_off UNUSEDPARAM */  // no module uses every number of the specification
package jb_pkg;
  // Versions
  localparam logic [7:0] VERSION = 8'd1;
  localparam logic [31:0] SPEC_HASH = 32'h358425d7;
  localparam logic [31:0] ID_VALUE = 32'h4A4F554C;  // "JOUL"
  localparam logic [15:0] MAGIC = 16'h4A42;  // "JB"

  // Widths and sizes
  localparam int ACTIVATION_BITS = 8;  // x
  localparam int WEIGHT_BITS = 8;  // w
  localparam int GRADIENT_BITS = 16;  // dz and results
  localparam int ACTIVATION_MSB_BITS = 4;  // x in the predictor
  localparam int GRADIENT_MSB_BITS = 10;  // dz in the predictor
  localparam int ACCUMULATOR_BITS = 48;  // sums of a convolution
  localparam int WORD_BYTES = 8;  // one beat of a port, one word of a bank
  localparam int ACTIVATIONS_PER_WORD = 8;
  localparam int GRADIENTS_PER_WORD = 4;
  localparam int BANK_ROWS = 4;  // bank of a pixel: row mod BANK_ROWS,
  localparam int BANK_COLUMNS = 4;  // (column + word) mod BANK_COLUMNS
  localparam int BURST_BEATS = 16;  // AXI3
  localparam int BOUNDARY_BYTES = 4096;  // that no burst crosses
  localparam int DESCRIPTOR_BYTES = 128;
  localparam int RESULT_BYTES = 64;
  localparam int REGISTER_BYTES = 256;  // of the AXI4-Lite window

  // Named configurations: CONFIG_SIZE[32*Config +: 32]
  localparam int CONFIG_DEFAULT = 0;
  localparam int CONFIG_OPEN = 1;
  localparam int CONFIG_TINY = 2;
  localparam int CONFIG_COUNT = 3;
  localparam logic [95:0] CONFIG_OUT_LANES = {32'd4, 32'd8, 32'd16};
  localparam logic [95:0] CONFIG_BANK_DEPTH = {32'd64, 32'd256, 32'd512};
  localparam logic [95:0] CONFIG_PSUM_DEPTH = {32'd128, 32'd512, 32'd1024};
  localparam logic [95:0] CONFIG_PREDICTOR_DEPTH = {32'd256, 32'd1024, 32'd2304};
  localparam logic [95:0] CONFIG_IN_LANES = {32'd4, 32'd4, 32'd4};
  localparam logic [95:0] CONFIG_COLUMNS = {32'd3, 32'd3, 32'd3};

  // Operations
  localparam logic [7:0] OP_FORWARD = 8'h00;
  localparam logic [7:0] OP_INPUT_GRADIENT = 8'h01;
  localparam logic [7:0] OP_WEIGHT_GRADIENT = 8'h02;
  localparam logic [7:0] OP_PREDICT = 8'h03;

  // Bits of a descriptor's flags
  localparam int FLAG_FIRST = 0;
  localparam int FLAG_LAST = 1;
  localparam int FLAG_X_UNSIGNED = 2;
  localparam int FLAG_RAW = 3;
  localparam int FLAG_RELU = 4;
  localparam int FLAG_MASK = 5;
  localparam int FLAG_PREDICT = 6;
  localparam int FLAG_SELECTIVE = 7;
  localparam int FLAG_IRQ = 8;
  localparam int FLAG_PREDICT_FIRST = 9;
  localparam int FLAG_PREDICT_LAST = 10;

  // Bits of the error register and of a result's error
  localparam int ERR_MAGIC = 0;
  localparam int ERR_VERSION = 1;
  localparam int ERR_CHECK = 2;
  localparam int ERR_OPERATION = 3;
  localparam int ERR_FLAGS = 4;
  localparam int ERR_ROUNDING = 5;
  localparam int ERR_SHIFT = 6;
  localparam int ERR_IMAGES = 7;
  localparam int ERR_X_SIZE = 8;
  localparam int ERR_G_SIZE = 9;
  localparam int ERR_KERNEL = 10;
  localparam int ERR_STRIDE = 11;
  localparam int ERR_PADDING = 12;
  localparam int ERR_LANE_MODE = 13;
  localparam int ERR_BLOCKS = 14;
  localparam int ERR_ALIGNMENT = 15;
  localparam int ERR_STRIDES = 16;
  localparam int ERR_PSUM_SIZE = 17;
  localparam int ERR_PREDICTOR_SIZE = 18;
  localparam int ERR_WEIGHT_BYTES = 19;
  localparam int ERR_THRESHOLD = 20;
  localparam int ERR_RESERVED = 21;
  localparam int ERR_BUS_READ = 24;
  localparam int ERR_BUS_WRITE = 25;
  localparam int ERR_DESC_COUNT = 26;
  localparam int ERR_INTERNAL = 27;

  // Byte offsets of the registers
  localparam logic [7:0] REG_ID = 8'h00;
  localparam logic [7:0] REG_VERSION = 8'h04;
  localparam logic [7:0] REG_SPEC_HASH = 8'h08;
  localparam logic [7:0] REG_CAPS = 8'h0C;
  localparam logic [7:0] REG_CTRL = 8'h10;
  localparam logic [7:0] REG_STATUS = 8'h14;
  localparam logic [7:0] REG_ERROR = 8'h18;
  localparam logic [7:0] REG_ERROR_INDEX = 8'h1C;
  localparam logic [7:0] REG_DESC_ADDRESS = 8'h20;
  localparam logic [7:0] REG_DESC_COUNT = 8'h24;
  localparam logic [7:0] REG_DESC_DONE = 8'h28;
  localparam logic [7:0] REG_CLOCK_HZ = 8'h2C;
  localparam logic [7:0] REG_SNAPSHOT = 8'h30;
  localparam logic [7:0] REG_SCRATCH = 8'h34;
  localparam logic [7:0] REG_CYCLES_TOTAL = 8'h40;
  localparam logic [7:0] REG_CYCLES_COMPUTE = 8'h48;
  localparam logic [7:0] REG_CYCLES_STALL_READ = 8'h50;
  localparam logic [7:0] REG_CYCLES_STALL_WRITE = 8'h58;
  localparam logic [7:0] REG_MACS_8X8 = 8'h60;
  localparam logic [7:0] REG_MACS_8X16 = 8'h68;
  localparam logic [7:0] REG_MACS_4X10 = 8'h70;
  localparam logic [7:0] REG_MACS_GATED = 8'h78;
  localparam logic [7:0] REG_DECIDED = 8'h80;
  localparam logic [7:0] REG_UNDECIDED = 8'h88;
  localparam logic [7:0] REG_PORT0_READ_BYTES = 8'h90;
  localparam logic [7:0] REG_PORT0_WRITE_BYTES = 8'h98;
  localparam logic [7:0] REG_PORT1_READ_BYTES = 8'hA0;
  localparam logic [7:0] REG_PORT1_WRITE_BYTES = 8'hA8;

  // Fields of a descriptor
  localparam int MAGIC_LSB = 0;  // MAGIC
  localparam int MAGIC_BITS = 16;
  localparam int VERSION_LSB = 16;  // VERSION
  localparam int VERSION_BITS = 8;
  localparam int OPERATION_LSB = 24;  // Operation
  localparam int OPERATION_BITS = 8;
  localparam int FLAGS_LSB = 32;  // Flag bits
  localparam int FLAGS_BITS = 16;
  localparam int ROUNDING_LSB = 48;  // 0 half up, 1 half even, 2 half away, 3 toward zero, 4 floor
  localparam int ROUNDING_BITS = 8;
  localparam int SHIFT_LSB = 56;  // right shift of the result, 0..47
  localparam int SHIFT_BITS = 8;
  localparam int IMAGES_LSB = 64;  // images in this tile, >= 1
  localparam int IMAGES_BITS = 16;
  localparam int X_ROWS_LSB = 80;  // rows of the tile of x that is loaded
  localparam int X_ROWS_BITS = 16;
  localparam int X_COLUMNS_LSB = 96;  // columns of the tile of x
  localparam int X_COLUMNS_BITS = 16;
  localparam int G_ROWS_LSB = 112;  // rows of the tile on the output side: z or dz
  localparam int G_ROWS_BITS = 16;
  localparam int G_COLUMNS_LSB = 128;  // columns on the output side
  localparam int G_COLUMNS_BITS = 16;
  localparam int X_WORDS_LSB = 144;  // 8-channel words of x per pixel
  localparam int X_WORDS_BITS = 16;
  localparam int G_WORDS_LSB = 160;  // 4-channel words of z or dz per pixel
  localparam int G_WORDS_BITS = 16;
  localparam int KERNEL_H_LSB = 176;  // 1..7
  localparam int KERNEL_H_BITS = 8;
  localparam int KERNEL_W_LSB = 184;  // 1..7
  localparam int KERNEL_W_BITS = 8;
  localparam int STRIDE_LSB = 192;  // 1 or 2
  localparam int STRIDE_BITS = 8;
  localparam int PAD_TOP_LSB = 200;  // rows of zeros above the tile of x
  localparam int PAD_TOP_BITS = 8;
  localparam int PAD_LEFT_LSB = 208;  // columns of zeros left of the tile of x
  localparam int PAD_LEFT_BITS = 8;
  localparam int LANE_MODE_LSB = 216;  // 0: the 3 operand columns are kernel columns; 1: three channel groups of one tap
  localparam int LANE_MODE_BITS = 8;
  localparam int MASK_BELOW_LSB = 224;  // 0: no upper limit
  localparam int MASK_BELOW_BITS = 16;
  localparam int THRESHOLD_Q12_LSB = 240;  // beta of the predictor in Q.12
  localparam int THRESHOLD_Q12_BITS = 16;
  localparam int OUT_BLOCK_LSB = 256;  // first output block (of out_lanes channels) of this tile
  localparam int OUT_BLOCK_BITS = 16;
  localparam int OUT_BLOCKS_LSB = 272;  // output blocks done by this tile, >= 1
  localparam int OUT_BLOCKS_BITS = 16;
  localparam int X_ADDRESS_LSB = 288;  // of the tile of x; multiple of 8, as all addresses and strides
  localparam int X_ADDRESS_BITS = 32;
  localparam int X_ROW_STRIDE_LSB = 320;  // bytes
  localparam int X_ROW_STRIDE_BITS = 32;
  localparam int X_IMAGE_STRIDE_LSB = 352;  // bytes
  localparam int X_IMAGE_STRIDE_BITS = 32;
  localparam int G_ADDRESS_LSB = 384;  // of the tile of dz (forward: unused)
  localparam int G_ADDRESS_BITS = 32;
  localparam int G_ROW_STRIDE_LSB = 416;  // bytes
  localparam int G_ROW_STRIDE_BITS = 32;
  localparam int G_IMAGE_STRIDE_LSB = 448;  // bytes
  localparam int G_IMAGE_STRIDE_BITS = 32;
  localparam int W_ADDRESS_LSB = 480;  // of the packed weights
  localparam int W_ADDRESS_BITS = 32;
  localparam int W_BYTES_LSB = 512;  // length of the packed weights
  localparam int W_BYTES_BITS = 32;
  localparam int MASK_ADDRESS_LSB = 544;  // of the mask's tile
  localparam int MASK_ADDRESS_BITS = 32;
  localparam int MASK_ROW_STRIDE_LSB = 576;  // bytes
  localparam int MASK_ROW_STRIDE_BITS = 32;
  localparam int MASK_IMAGE_STRIDE_LSB = 608;  // bytes
  localparam int MASK_IMAGE_STRIDE_BITS = 32;
  localparam int OUT_ADDRESS_LSB = 640;  // of the result
  localparam int OUT_ADDRESS_BITS = 32;
  localparam int OUT_ROW_STRIDE_LSB = 672;  // bytes (forward, input gradient)
  localparam int OUT_ROW_STRIDE_BITS = 32;
  localparam int OUT_IMAGE_STRIDE_LSB = 704;  // bytes
  localparam int OUT_IMAGE_STRIDE_BITS = 32;
  localparam int OUT_PIXEL_STRIDE_LSB = 736;  // bytes: channels of the whole result
  localparam int OUT_PIXEL_STRIDE_BITS = 32;
  localparam int RESULT_ADDRESS_LSB = 768;  // of the result block
  localparam int RESULT_ADDRESS_BITS = 32;
  localparam int RESERVED0_LSB = 800;  // 0
  localparam int RESERVED0_BITS = 32;
  localparam int RESERVED1_LSB = 832;  // 0
  localparam int RESERVED1_BITS = 32;
  localparam int RESERVED2_LSB = 864;  // 0
  localparam int RESERVED2_BITS = 32;
  localparam int RESERVED3_LSB = 896;  // 0
  localparam int RESERVED3_BITS = 32;
  localparam int X_PIXEL_STRIDE_LSB = 928;  // bytes; 0: a row's pixels follow one another
  localparam int X_PIXEL_STRIDE_BITS = 32;
  localparam int G_PIXEL_STRIDE_LSB = 960;  // likewise, of dz
  localparam int G_PIXEL_STRIDE_BITS = 32;
  localparam int CHECK_LSB = 992;  // sum of the other 32-bit words modulo 2^32, inverted
  localparam int CHECK_BITS = 32;

  // Fields of a result block
  localparam int RESULT_STATUS_LSB = 0;  // 1 done, 2 error
  localparam int RESULT_STATUS_BITS = 16;
  localparam int RESULT_RESERVED0_LSB = 16;  // 0
  localparam int RESULT_RESERVED0_BITS = 16;
  localparam int RESULT_ERROR_LSB = 32;  // ErrorBit mask
  localparam int RESULT_ERROR_BITS = 32;
  localparam int RESULT_PEAK_LSB = 64;  // max |sum| before the shift (weight gradient: max |dw_msb| when selective)
  localparam int RESULT_PEAK_BITS = 64;
  localparam int RESULT_SATURATED_LSB = 128;  // elements clamped
  localparam int RESULT_SATURATED_BITS = 32;
  localparam int RESULT_DECIDED_LSB = 160;  // elements whose sign was predicted
  localparam int RESULT_DECIDED_BITS = 32;
  localparam int RESULT_UNDECIDED_LSB = 192;  // elements computed exactly
  localparam int RESULT_UNDECIDED_BITS = 32;
  localparam int RESULT_CYCLES_LSB = 224;  // cycles from the first load to the last write
  localparam int RESULT_CYCLES_BITS = 32;
  localparam int RESULT_COMPUTE_CYCLES_LSB = 256;  // cycles in which the array took operands
  localparam int RESULT_COMPUTE_CYCLES_BITS = 32;
  localparam int RESULT_STALL_CYCLES_LSB = 288;  // cycles in which it waited for data, weights or room for results
  localparam int RESULT_STALL_CYCLES_BITS = 32;
  localparam int RESULT_MACS_LSB = 320;  // products formed that count (padding included)
  localparam int RESULT_MACS_BITS = 64;
  localparam int RESULT_MACS_GATED_LSB = 384;  // products not formed since their element's sign was decided
  localparam int RESULT_MACS_GATED_BITS = 64;
  localparam int RESULT_RESERVED1_LSB = 448;  // 0
  localparam int RESULT_RESERVED1_BITS = 64;

  // Candidates of the weight gradient's multipliers
  // Candidate k of multiplier i, as 8 * position + channel: CANDIDATE_VALUE[7*(8*i+k) +: 7]
  localparam int CANDIDATE_HOMES = 3;  // candidates 0.. are home
  localparam logic [2687:0] CANDIDATE_VALUE = {
    7'd38, 7'd27, 7'd16, 7'd13, 7'd2, 7'd71, 7'd63, 7'd55,
    7'd43, 7'd31, 7'd21, 7'd11, 7'd1, 7'd71, 7'd63, 7'd55,
    7'd40, 7'd37, 7'd23, 7'd12, 7'd1, 7'd70, 7'd62, 7'd54,
    7'd42, 7'd32, 7'd30, 7'd10, 7'd0, 7'd70, 7'd62, 7'd54,
    7'd47, 7'd36, 7'd25, 7'd22, 7'd0, 7'd69, 7'd61, 7'd53,
    7'd41, 7'd39, 7'd29, 7'd19, 7'd9, 7'd69, 7'd61, 7'd53,
    7'd35, 7'd24, 7'd21, 7'd10, 7'd7, 7'd68, 7'd60, 7'd52,
    7'd40, 7'd28, 7'd18, 7'd8, 7'd6, 7'd68, 7'd60, 7'd52,
    7'd45, 7'd34, 7'd20, 7'd9, 7'd6, 7'd67, 7'd59, 7'd51,
    7'd47, 7'd37, 7'd27, 7'd15, 7'd5, 7'd67, 7'd59, 7'd51,
    7'd44, 7'd33, 7'd30, 7'd19, 7'd5, 7'd66, 7'd58, 7'd50,
    7'd46, 7'd36, 7'd26, 7'd16, 7'd14, 7'd66, 7'd58, 7'd50,
    7'd32, 7'd29, 7'd18, 7'd15, 7'd4, 7'd65, 7'd57, 7'd49,
    7'd45, 7'd25, 7'd23, 7'd13, 7'd3, 7'd65, 7'd57, 7'd49,
    7'd42, 7'd39, 7'd17, 7'd14, 7'd3, 7'd64, 7'd56, 7'd48,
    7'd44, 7'd34, 7'd24, 7'd12, 7'd2, 7'd64, 7'd56, 7'd48,
    7'd66, 7'd63, 7'd52, 7'd16, 7'd2, 7'd47, 7'd39, 7'd31,
    7'd65, 7'd63, 7'd53, 7'd21, 7'd11, 7'd47, 7'd39, 7'd31,
    7'd62, 7'd51, 7'd23, 7'd12, 7'd1, 7'd46, 7'd38, 7'd30,
    7'd64, 7'd52, 7'd20, 7'd10, 7'd0, 7'd46, 7'd38, 7'd30,
    7'd64, 7'd61, 7'd22, 7'd11, 7'd0, 7'd45, 7'd37, 7'd29,
    7'd71, 7'd61, 7'd51, 7'd9, 7'd7, 7'd45, 7'd37, 7'd29,
    7'd71, 7'd60, 7'd49, 7'd21, 7'd7, 7'd44, 7'd36, 7'd28,
    7'd70, 7'd60, 7'd50, 7'd18, 7'd8, 7'd44, 7'd36, 7'd28,
    7'd59, 7'd48, 7'd20, 7'd9, 7'd6, 7'd43, 7'd35, 7'd27,
    7'd69, 7'd49, 7'd17, 7'd15, 7'd5, 7'd43, 7'd35, 7'd27,
    7'd69, 7'd58, 7'd19, 7'd8, 7'd5, 7'd42, 7'd34, 7'd26,
    7'd68, 7'd58, 7'd48, 7'd14, 7'd4, 7'd42, 7'd34, 7'd26,
    7'd68, 7'd57, 7'd54, 7'd18, 7'd4, 7'd41, 7'd33, 7'd25,
    7'd67, 7'd57, 7'd55, 7'd23, 7'd13, 7'd41, 7'd33, 7'd25,
    7'd56, 7'd53, 7'd17, 7'd14, 7'd3, 7'd40, 7'd32, 7'd24,
    7'd66, 7'd54, 7'd22, 7'd12, 7'd2, 7'd40, 7'd32, 7'd24,
    7'd66, 7'd63, 7'd41, 7'd38, 7'd27, 7'd23, 7'd15, 7'd7,
    7'd65, 7'd63, 7'd53, 7'd33, 7'd31, 7'd23, 7'd15, 7'd7,
    7'd65, 7'd62, 7'd51, 7'd40, 7'd26, 7'd22, 7'd14, 7'd6,
    7'd64, 7'd62, 7'd52, 7'd42, 7'd32, 7'd22, 7'd14, 7'd6,
    7'd61, 7'd50, 7'd47, 7'd36, 7'd25, 7'd21, 7'd13, 7'd5,
    7'd71, 7'd51, 7'd41, 7'd39, 7'd29, 7'd21, 7'd13, 7'd5,
    7'd71, 7'd60, 7'd46, 7'd35, 7'd24, 7'd20, 7'd12, 7'd4,
    7'd70, 7'd60, 7'd50, 7'd38, 7'd28, 7'd20, 7'd12, 7'd4,
    7'd70, 7'd59, 7'd48, 7'd45, 7'd31, 7'd19, 7'd11, 7'd3,
    7'd69, 7'd59, 7'd49, 7'd47, 7'd37, 7'd19, 7'd11, 7'd3,
    7'd58, 7'd55, 7'd44, 7'd33, 7'd30, 7'd18, 7'd10, 7'd2,
    7'd68, 7'd48, 7'd46, 7'd36, 7'd26, 7'd18, 7'd10, 7'd2,
    7'd68, 7'd57, 7'd43, 7'd32, 7'd29, 7'd17, 7'd9, 7'd1,
    7'd67, 7'd57, 7'd55, 7'd35, 7'd25, 7'd17, 7'd9, 7'd1,
    7'd67, 7'd56, 7'd53, 7'd42, 7'd28, 7'd16, 7'd8, 7'd0,
    7'd66, 7'd56, 7'd54, 7'd44, 7'd34, 7'd16, 7'd8, 7'd0
  };
  // Its candidate at position p, 8 where it has none: CANDIDATE_AT[4*(9*i+p) +: 4]
  localparam logic [1727:0] CANDIDATE_AT = {
    4'd2, 4'd1, 4'd0, 4'd8, 4'd7, 4'd6, 4'd5, 4'd4, 4'd3,
    4'd2, 4'd1, 4'd0, 4'd7, 4'd8, 4'd6, 4'd5, 4'd4, 4'd3,
    4'd2, 4'd1, 4'd0, 4'd7, 4'd6, 4'd8, 4'd5, 4'd4, 4'd3,
    4'd2, 4'd1, 4'd0, 4'd7, 4'd6, 4'd5, 4'd8, 4'd4, 4'd3,
    4'd2, 4'd1, 4'd0, 4'd7, 4'd6, 4'd5, 4'd4, 4'd8, 4'd3,
    4'd2, 4'd1, 4'd0, 4'd7, 4'd6, 4'd5, 4'd4, 4'd3, 4'd8,
    4'd2, 4'd1, 4'd0, 4'd8, 4'd7, 4'd6, 4'd5, 4'd4, 4'd3,
    4'd2, 4'd1, 4'd0, 4'd7, 4'd8, 4'd6, 4'd5, 4'd4, 4'd3,
    4'd2, 4'd1, 4'd0, 4'd7, 4'd6, 4'd8, 4'd5, 4'd4, 4'd3,
    4'd2, 4'd1, 4'd0, 4'd7, 4'd6, 4'd5, 4'd8, 4'd4, 4'd3,
    4'd2, 4'd1, 4'd0, 4'd7, 4'd6, 4'd5, 4'd4, 4'd8, 4'd3,
    4'd2, 4'd1, 4'd0, 4'd7, 4'd6, 4'd5, 4'd4, 4'd3, 4'd8,
    4'd2, 4'd1, 4'd0, 4'd8, 4'd7, 4'd6, 4'd5, 4'd4, 4'd3,
    4'd2, 4'd1, 4'd0, 4'd7, 4'd8, 4'd6, 4'd5, 4'd4, 4'd3,
    4'd2, 4'd1, 4'd0, 4'd7, 4'd6, 4'd8, 4'd5, 4'd4, 4'd3,
    4'd2, 4'd1, 4'd0, 4'd7, 4'd6, 4'd5, 4'd8, 4'd4, 4'd3,
    4'd7, 4'd6, 4'd5, 4'd2, 4'd1, 4'd0, 4'd4, 4'd8, 4'd3,
    4'd7, 4'd6, 4'd5, 4'd2, 4'd1, 4'd0, 4'd4, 4'd3, 4'd8,
    4'd8, 4'd7, 4'd6, 4'd2, 4'd1, 4'd0, 4'd5, 4'd4, 4'd3,
    4'd7, 4'd8, 4'd6, 4'd2, 4'd1, 4'd0, 4'd5, 4'd4, 4'd3,
    4'd7, 4'd6, 4'd8, 4'd2, 4'd1, 4'd0, 4'd5, 4'd4, 4'd3,
    4'd7, 4'd6, 4'd5, 4'd2, 4'd1, 4'd0, 4'd8, 4'd4, 4'd3,
    4'd7, 4'd6, 4'd5, 4'd2, 4'd1, 4'd0, 4'd4, 4'd8, 4'd3,
    4'd7, 4'd6, 4'd5, 4'd2, 4'd1, 4'd0, 4'd4, 4'd3, 4'd8,
    4'd8, 4'd7, 4'd6, 4'd2, 4'd1, 4'd0, 4'd5, 4'd4, 4'd3,
    4'd7, 4'd8, 4'd6, 4'd2, 4'd1, 4'd0, 4'd5, 4'd4, 4'd3,
    4'd7, 4'd6, 4'd8, 4'd2, 4'd1, 4'd0, 4'd5, 4'd4, 4'd3,
    4'd7, 4'd6, 4'd5, 4'd2, 4'd1, 4'd0, 4'd8, 4'd4, 4'd3,
    4'd7, 4'd6, 4'd5, 4'd2, 4'd1, 4'd0, 4'd4, 4'd8, 4'd3,
    4'd7, 4'd6, 4'd5, 4'd2, 4'd1, 4'd0, 4'd4, 4'd3, 4'd8,
    4'd8, 4'd7, 4'd6, 4'd2, 4'd1, 4'd0, 4'd5, 4'd4, 4'd3,
    4'd7, 4'd8, 4'd6, 4'd2, 4'd1, 4'd0, 4'd5, 4'd4, 4'd3,
    4'd7, 4'd6, 4'd8, 4'd5, 4'd4, 4'd3, 4'd2, 4'd1, 4'd0,
    4'd7, 4'd6, 4'd5, 4'd8, 4'd4, 4'd3, 4'd2, 4'd1, 4'd0,
    4'd7, 4'd6, 4'd5, 4'd4, 4'd8, 4'd3, 4'd2, 4'd1, 4'd0,
    4'd7, 4'd6, 4'd5, 4'd4, 4'd3, 4'd8, 4'd2, 4'd1, 4'd0,
    4'd8, 4'd7, 4'd6, 4'd5, 4'd4, 4'd3, 4'd2, 4'd1, 4'd0,
    4'd7, 4'd8, 4'd6, 4'd5, 4'd4, 4'd3, 4'd2, 4'd1, 4'd0,
    4'd7, 4'd6, 4'd8, 4'd5, 4'd4, 4'd3, 4'd2, 4'd1, 4'd0,
    4'd7, 4'd6, 4'd5, 4'd8, 4'd4, 4'd3, 4'd2, 4'd1, 4'd0,
    4'd7, 4'd6, 4'd5, 4'd4, 4'd8, 4'd3, 4'd2, 4'd1, 4'd0,
    4'd7, 4'd6, 4'd5, 4'd4, 4'd3, 4'd8, 4'd2, 4'd1, 4'd0,
    4'd8, 4'd7, 4'd6, 4'd5, 4'd4, 4'd3, 4'd2, 4'd1, 4'd0,
    4'd7, 4'd8, 4'd6, 4'd5, 4'd4, 4'd3, 4'd2, 4'd1, 4'd0,
    4'd7, 4'd6, 4'd8, 4'd5, 4'd4, 4'd3, 4'd2, 4'd1, 4'd0,
    4'd7, 4'd6, 4'd5, 4'd8, 4'd4, 4'd3, 4'd2, 4'd1, 4'd0,
    4'd7, 4'd6, 4'd5, 4'd4, 4'd8, 4'd3, 4'd2, 4'd1, 4'd0,
    4'd7, 4'd6, 4'd5, 4'd4, 4'd3, 4'd8, 4'd2, 4'd1, 4'd0
  };
endpackage
/* verilator lint_on UNUSEDPARAM */

`default_nettype wire
