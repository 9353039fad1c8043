// Checks every field of a descriptor against the specification and this configuration's memories, before anything is
// loaded, and derives the products that the loaders need. One multiplication after another, by shifts and additions:
// about 150 cycles for a typical tile, hidden behind the tile before.
`default_nettype none

module jb_descriptor_check #(
  parameter int Config = 0
) (
  input  wire logic          clk_i,
  input  wire logic          rst_ni,
  input  wire logic          valid_i,       // descriptor_i is stable until ready_o
  output      logic          ready_o,
  input  wire logic [1023:0] descriptor_i,
  input  wire logic          sum_good_i,
  input  wire logic          bus_error_i,
  output      logic          valid_o,       // the results below belong to descriptor_i
  input  wire logic          ready_i,
  output      logic [31:0]   error_o,       // ErrorBit mask
  output      logic          trusted_o,     // magic, version and check are right: so is the result block's address
  output      logic [28:0]   x_row_words_o, // x_columns * x_words
  output      logic [28:0]   g_row_words_o, // g_columns * g_words
  output      logic [28:0]   dw_words_o,    // out_blocks * x_words * kernel_h * kernel_w: times 8 * out_lanes elements
  output      logic [47:0]   macs_4x10_o    // products of the predictor, padding included
);
  localparam int OutLanes = jb_pkg::CONFIG_OUT_LANES[32*Config+:32];
  localparam int InLanes = jb_pkg::CONFIG_IN_LANES[32*Config+:32];
  localparam int Columns = jb_pkg::CONFIG_COLUMNS[32*Config+:32];
  localparam int BankDepth = jb_pkg::CONFIG_BANK_DEPTH[32*Config+:32];
  localparam int PsumDepth = jb_pkg::CONFIG_PSUM_DEPTH[32*Config+:32];
  localparam int PredictorDepth = jb_pkg::CONFIG_PREDICTOR_DEPTH[32*Config+:32];
  localparam int LaneBits = $clog2(OutLanes);
  localparam int InitialBytes = 8 * OutLanes;
  localparam int GroupBytes = 8 * ((OutLanes * InLanes * Columns + 7) / 8);
  localparam int Third = 43691;  // n / 3 = n * Third >> 17 for n below 2^16

  if (InLanes != 4 || Columns != 3 || (1 << LaneBits) != OutLanes) begin : g_shape
    $error("jb_descriptor_check: 4 input lanes, 3 columns and a power of two of output lanes are supported");
  end

  // ---- fields
  logic [15:0] magic, flags, images, x_rows, x_columns, g_rows, g_columns, x_words, g_words, threshold, out_block, out_blocks;
  logic [7:0] version, operation, rounding, shift, kernel_h, kernel_w, stride, pad_top, pad_left, lane_mode;
  logic [31:0] w_bytes, pixel_stride;
  logic [17:0] low_addresses;  // what must be zero of the addresses
  logic [32:0] low_strides;

  assign magic          = descriptor_i[jb_pkg::MAGIC_LSB+:16];
  assign version        = descriptor_i[jb_pkg::VERSION_LSB+:8];
  assign operation      = descriptor_i[jb_pkg::OPERATION_LSB+:8];
  assign flags          = descriptor_i[jb_pkg::FLAGS_LSB+:16];
  assign rounding       = descriptor_i[jb_pkg::ROUNDING_LSB+:8];
  assign shift          = descriptor_i[jb_pkg::SHIFT_LSB+:8];
  assign images         = descriptor_i[jb_pkg::IMAGES_LSB+:16];
  assign x_rows         = descriptor_i[jb_pkg::X_ROWS_LSB+:16];
  assign x_columns      = descriptor_i[jb_pkg::X_COLUMNS_LSB+:16];
  assign g_rows         = descriptor_i[jb_pkg::G_ROWS_LSB+:16];
  assign g_columns      = descriptor_i[jb_pkg::G_COLUMNS_LSB+:16];
  assign x_words        = descriptor_i[jb_pkg::X_WORDS_LSB+:16];
  assign g_words        = descriptor_i[jb_pkg::G_WORDS_LSB+:16];
  assign kernel_h       = descriptor_i[jb_pkg::KERNEL_H_LSB+:8];
  assign kernel_w       = descriptor_i[jb_pkg::KERNEL_W_LSB+:8];
  assign stride         = descriptor_i[jb_pkg::STRIDE_LSB+:8];
  assign pad_top        = descriptor_i[jb_pkg::PAD_TOP_LSB+:8];
  assign pad_left       = descriptor_i[jb_pkg::PAD_LEFT_LSB+:8];
  assign lane_mode      = descriptor_i[jb_pkg::LANE_MODE_LSB+:8];
  assign threshold      = descriptor_i[jb_pkg::THRESHOLD_Q12_LSB+:16];
  assign out_block      = descriptor_i[jb_pkg::OUT_BLOCK_LSB+:16];
  assign out_blocks     = descriptor_i[jb_pkg::OUT_BLOCKS_LSB+:16];
  assign w_bytes        = descriptor_i[jb_pkg::W_BYTES_LSB+:32];
  assign pixel_stride   = descriptor_i[jb_pkg::OUT_PIXEL_STRIDE_LSB+:32];

  assign low_addresses  = {descriptor_i[jb_pkg::X_ADDRESS_LSB+:3], descriptor_i[jb_pkg::G_ADDRESS_LSB+:3],
                           descriptor_i[jb_pkg::W_ADDRESS_LSB+:3], descriptor_i[jb_pkg::MASK_ADDRESS_LSB+:3],
                           descriptor_i[jb_pkg::OUT_ADDRESS_LSB+:3], descriptor_i[jb_pkg::RESULT_ADDRESS_LSB+:3]};
  assign low_strides    = {descriptor_i[jb_pkg::X_ROW_STRIDE_LSB+:3], descriptor_i[jb_pkg::X_IMAGE_STRIDE_LSB+:3],
                           descriptor_i[jb_pkg::G_ROW_STRIDE_LSB+:3], descriptor_i[jb_pkg::G_IMAGE_STRIDE_LSB+:3],
                           descriptor_i[jb_pkg::MASK_ROW_STRIDE_LSB+:3], descriptor_i[jb_pkg::MASK_IMAGE_STRIDE_LSB+:3],
                           descriptor_i[jb_pkg::OUT_ROW_STRIDE_LSB+:3], descriptor_i[jb_pkg::OUT_IMAGE_STRIDE_LSB+:3],
                           descriptor_i[jb_pkg::X_PIXEL_STRIDE_LSB+:3], descriptor_i[jb_pkg::G_PIXEL_STRIDE_LSB+:3],
                           pixel_stride[2:0]};

  logic forward, input_gradient, weight_gradient, predict_only;
  logic first, raw, relu, mask, predict, selective, last, loads_x, loads_g, stores, predicts;

  assign forward         = operation == jb_pkg::OP_FORWARD;
  assign input_gradient  = operation == jb_pkg::OP_INPUT_GRADIENT;
  assign weight_gradient = operation == jb_pkg::OP_WEIGHT_GRADIENT;
  assign predict_only    = operation == jb_pkg::OP_PREDICT;
  assign first           = flags[jb_pkg::FLAG_FIRST];
  assign last            = flags[jb_pkg::FLAG_LAST];
  assign raw             = flags[jb_pkg::FLAG_RAW];
  assign relu            = flags[jb_pkg::FLAG_RELU];
  assign mask            = flags[jb_pkg::FLAG_MASK];
  assign predict         = flags[jb_pkg::FLAG_PREDICT];
  assign selective       = flags[jb_pkg::FLAG_SELECTIVE];
  assign loads_x         = !input_gradient || predict;
  assign loads_g         = !forward;
  assign predicts        = predict_only || (input_gradient && predict);
  assign stores          = last && (forward || input_gradient);

  // Channels of the result, and of a result's pixel the bytes.
  logic [18:0] channels;  // produced
  logic [16:0] reduced;   // fours of channels summed over
  logic [21:0] pixel_bytes;
  logic [16:0] total_blocks;  // of the result
  logic [15:0] g_blocks;      // of dz

  assign channels     = input_gradient ? {x_words, 3'b000} : {1'b0, g_words, 2'b00};
  assign reduced      = input_gradient ? {1'b0, g_words} : {x_words, 1'b0};
  assign pixel_bytes  = raw ? {channels, 3'b000} : relu ? {3'd0, channels} : {2'd0, channels, 1'b0};
  assign g_blocks     = 16'(({1'b0, g_words, 2'b00} + 19'(OutLanes - 1)) >> LaneBits);
  assign total_blocks = 17'((channels + 19'(OutLanes - 1)) >> LaneBits);

  // ---- checks of single fields
  logic [31:0] simple;

  always_comb begin
    simple = '0;
    simple[jb_pkg::ERR_MAGIC]     = magic != jb_pkg::MAGIC;
    simple[jb_pkg::ERR_VERSION]   = version != jb_pkg::VERSION;
    simple[jb_pkg::ERR_CHECK]     = !sum_good_i;
    simple[jb_pkg::ERR_OPERATION] = operation > jb_pkg::OP_PREDICT;
    simple[jb_pkg::ERR_FLAGS]     = flags[15:jb_pkg::FLAG_PREDICT_LAST+1] != '0
                                    || ((flags[jb_pkg::FLAG_PREDICT_FIRST] || flags[jb_pkg::FLAG_PREDICT_LAST]) && !predicts)
                                    || (relu && (!forward || raw)) || (mask && !input_gradient)
                                    || (predict && !input_gradient) || (selective && !weight_gradient)
                                    || (weight_gradient && last && raw == selective) || (raw && selective);
    simple[jb_pkg::ERR_ROUNDING]  = rounding > 8'd4;
    simple[jb_pkg::ERR_SHIFT]     = shift > 8'd47;
    simple[jb_pkg::ERR_IMAGES]    = images == '0;
    simple[jb_pkg::ERR_X_SIZE]    = x_rows == '0 || x_columns == '0 || x_words == '0;
    simple[jb_pkg::ERR_G_SIZE]    = g_rows == '0 || g_columns == '0 || g_words == '0;
    simple[jb_pkg::ERR_KERNEL]    = kernel_h == '0 || kernel_h > 8'd7 || kernel_w == '0 || kernel_w > 8'd7;
    simple[jb_pkg::ERR_STRIDE]    = stride != 8'd1 && stride != 8'd2;
    simple[jb_pkg::ERR_PADDING]   = pad_top > 8'd7 || pad_left > 8'd7;
    simple[jb_pkg::ERR_LANE_MODE] = lane_mode > 8'd1 || (input_gradient && stride == 8'd2 && lane_mode == 8'd0);
    simple[jb_pkg::ERR_BLOCKS]    = out_blocks == '0
                                    // sums that stay in the core are one block
                                    || ((forward || input_gradient) && !(first && last) && out_blocks != 16'd1)
                                    || {1'b0, out_block} + {1'b0, out_blocks} > total_blocks;
    simple[jb_pkg::ERR_ALIGNMENT] = low_addresses != '0;
    simple[jb_pkg::ERR_STRIDES]   = low_strides != '0
                                    || (stores && pixel_stride < {10'd0, pixel_bytes})
                                    // a pixel of the mask must be whole beats, too
                                    || (mask && (pixel_stride[3:0] != '0 || (raw && pixel_stride[5:4] != '0)));
    simple[jb_pkg::ERR_THRESHOLD] = threshold > 16'd4096;
    simple[jb_pkg::ERR_RESERVED]  = descriptor_i[jb_pkg::RESERVED0_LSB+:128] != '0;
  end

  // ---- checks of products
  typedef enum logic [4:0] {
    StIdle,
    StXRow,      // x_columns * x_words
    StGRow,      // g_columns * g_words
    StXBank1,    // words of a bank: ceil(columns / 4) * words
    StXBank2,    // * ceil(rows / 4)
    StXBank3,    // * images
    StGBank1,
    StGBank2,
    StGBank3,
    StPixels1,   // words of the partial sums: rows, or pairs of rows, * columns
    StPixels2,   // * images
    StTaps,      // kernel_h * kernel_w
    StDw,        // * x_words
    StDwBlocks,  // * out_blocks
    StPredictor, // taps * x_words * blocks of dz
    StMacs1,     // g_rows * g_columns
    StMacs2,     // * images
    StMacs3,     // * g_words
    StMacs4,     // * taps * x_words
    StThird,     // reduced channels / 12
    StGroups1,   // groups of weights
    StGroups2,
    StBytes,     // * bytes of a group
    StBlocks,    // * out_blocks
    StOffer
  } state_e;

  state_e state_q;
  logic start_q, done;  // start_q: the product of state_q starts
  logic [47:0] a, product, held_q;
  logic [15:0] b;
  logic [31:0] error_q;
  logic [15:0] dw_one_q;  // taps * x_words, 65535 when more
  logic [7:0] taps_q;
  logic finished;

  jb_descriptor_product u_product (
    .clk_i,
    .start_i  (start_q),
    .a_i      (a),
    .b_i      (b),
    .done_o   (done),
    .product_o(product)
  );

  assign finished = !start_q && done;

  // Long before they are operands
  logic [15:0] reduced_q, third_q;

  always_ff @(posedge clk_i) begin
    reduced_q <= reduced[16] ? '1 : reduced[15:0];
    third_q   <= reduced > 17'd65533 ? '1 : 16'(reduced + 17'd2);  // (channels / 4 + 2) / 3
  end

  // Operands: held_q is the product of the state before.
  always_comb begin
    a = held_q;
    b = 16'd1;
    unique case (state_q)
      StXRow: begin
        a = {32'd0, x_words};
        b = x_columns;
      end
      StGRow: begin
        a = {32'd0, g_words};
        b = g_columns;
      end
      StXBank1: begin
        a = {32'd0, x_words};
        b = 16'(({1'b0, x_columns} + 17'd3) >> 2);
      end
      StXBank2: b = 16'(({1'b0, x_rows} + 17'd3) >> 2);
      StGBank1: begin
        a = {32'd0, g_words};
        b = 16'(({1'b0, g_columns} + 17'd3) >> 2);
      end
      StGBank2: b = 16'(({1'b0, g_rows} + 17'd3) >> 2);
      StXBank3, StGBank3, StPixels2, StMacs2: b = images;
      StPixels1: begin
        a = input_gradient ? {32'd0, x_columns} : {32'd0, g_columns};
        b = input_gradient ? x_rows : 16'(({1'b0, g_rows} + 17'd1) >> 1);
      end
      StTaps: begin
        a = {40'd0, kernel_h};
        b = {8'd0, kernel_w};
      end
      StDw: begin
        a = {32'd0, x_words};
        b = {8'd0, taps_q};
      end
      StDwBlocks: begin
        a = {32'd0, dw_one_q};
        b = out_blocks;
      end
      StPredictor: begin
        a = {32'd0, dw_one_q};
        b = g_blocks;
      end
      StMacs1: begin
        a = {32'd0, g_columns};
        b = g_rows;
      end
      StMacs3: b = g_words;
      StMacs4: b = dw_one_q;
      StThird: begin
        a = 48'(Third);
        b = third_q;
      end
      StGroups1: begin
        if (lane_mode[0]) begin
          a = {17'd0, held_q[47:17]};
          b = {8'd0, taps_q};
        end else begin
          a = {40'd0, kernel_h};
          b = kernel_w > 8'd6 ? 16'd3 : kernel_w > 8'd3 ? 16'd2 : 16'd1;
        end
      end
      StGroups2: b = lane_mode[0] ? 16'd1 : reduced_q;
      StBytes: b = 16'(GroupBytes);
      StBlocks: begin
        a = held_q + 48'(InitialBytes);
        b = out_blocks;
      end
      default: ;
    endcase
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      start_q <= 1'b0;
    end else begin
      start_q <= 1'b0;
      unique case (state_q)
        StIdle: begin
          if (valid_i && !valid_o) begin
            state_q <= StXRow;
            start_q <= 1'b1;
          end
        end
        StOffer: if (ready_i) state_q <= StIdle;
        default: begin
          if (finished) begin
            state_q <= state_e'(state_q + 5'd1);
            start_q <= state_q != StBlocks;
          end
        end
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (finished) held_q <= product;
    if (state_q == StIdle) begin
      error_q <= simple;
    end else if (finished) begin
      unique case (state_q)
        StXRow:   x_row_words_o <= product[28:0];
        StGRow:   g_row_words_o <= product[28:0];
        StXBank3: if (loads_x && product > 48'(BankDepth / 2)) error_q[jb_pkg::ERR_X_SIZE] <= 1'b1;
        StGBank3: if (loads_g && product > 48'(BankDepth / 2)) error_q[jb_pkg::ERR_G_SIZE] <= 1'b1;
        StPixels2: begin
          if ((forward || input_gradient) && product > 48'(PsumDepth / 2)) error_q[jb_pkg::ERR_PSUM_SIZE] <= 1'b1;
        end
        StTaps: taps_q <= product[7:0];
        StDw: dw_one_q <= product[47:16] != '0 ? '1 : product[15:0];
        StDwBlocks: begin
          dw_words_o <= product[28:0];
          if (weight_gradient && product > 48'(PsumDepth / 8)) error_q[jb_pkg::ERR_PSUM_SIZE] <= 1'b1;
        end
        StPredictor: begin
          if ((predicts || selective) && product > 48'(PredictorDepth / 8)) error_q[jb_pkg::ERR_PREDICTOR_SIZE] <= 1'b1;
        end
        StMacs4: macs_4x10_o <= predicts ? {product[42:0], 5'd0} : '0;
        StBlocks: begin
          if (forward || input_gradient ? product != {16'd0, w_bytes} : w_bytes != '0) error_q[jb_pkg::ERR_WEIGHT_BYTES] <= 1'b1;
        end
        default: ;
      endcase
    end
  end

  assign valid_o   = state_q == StOffer;
  assign ready_o   = valid_o && ready_i;
  assign trusted_o = !bus_error_i && !simple[jb_pkg::ERR_MAGIC] && !simple[jb_pkg::ERR_VERSION] && sum_good_i;

  always_comb begin
    error_o = error_q;
    // Garbage from the bus is no descriptor: its fields say nothing.
    if (bus_error_i) begin
      error_o = '0;
      error_o[jb_pkg::ERR_BUS_READ] = 1'b1;
    end
  end

  logic unused;
  assign unused = ^descriptor_i;
endmodule

`default_nettype wire
